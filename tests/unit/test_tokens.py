"""Token counters: high rather than low, additive, remembered, exact where a vocabulary is here, never a download."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.errors import ConfigurationError
from agentstate.providers.tokens import (
    Estimator,
    ExactCounter,
    Family,
    counter_for,
    estimate_tokens,
    family_of,
    mean_budget,
    mean_tokens,
)
from agentstate.providers.tokens import exact as exact_module
from agentstate.providers.tokens.counting import CachedByText
from agentstate.providers.tokens.estimator import (
    CLASSES,
    count_features,
    count_pairs,
    expand_weights,
    family_weights,
    load_fitted,
    pair_index,
    weight_labels,
)
from bench.token_counts import make_all_samples, read_recorded

AT_RANDOM = {"symbols", "other scripts", "runs of one sign"}
"""Kinds that no one writes."""


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-haiku-5-5", Family.CLAUDE),
        ("claude-opus-4-7", Family.CLAUDE),
        ("claude-opus-4.8", Family.CLAUDE),
        ("claude-haiku-4-5", Family.CLAUDE_OLDER),
        ("claude-sonnet-4-20250514", Family.CLAUDE_OLDER),
        ("claude-3-5-sonnet-20241022", Family.CLAUDE_OLDER),
        ("anthropic/claude-sonnet-5-5", Family.CLAUDE),
        ("anthropic.claude-haiku-4-5-v1:0", Family.CLAUDE_OLDER),
        ("gpt-6-luna", Family.O200K),
        ("gpt-4o-mini", Family.O200K),
        ("gpt-4.1", Family.O200K),
        ("o3", Family.O200K),
        ("gpt-4-turbo", Family.CL100K),
        ("gpt-3.5-turbo", Family.CL100K),
        ("text-embedding-3-small", Family.CL100K),
        ("llama-9", Family.CLAUDE),
        (None, Family.CLAUDE),
    ],
)
def test_a_model_belongs_to_a_family(model: str | None, family: Family) -> None:
    assert family_of(model) is family


@pytest.mark.parametrize("family", [Family.CLAUDE, Family.CLAUDE_OLDER])
def test_the_estimate_is_seldom_below_the_recorded_counts(family: Family) -> None:
    counted = read_recorded(make_all_samples(), family)
    assert len(counted) == len(make_all_samples()), "a kind of text has changed: run scripts/fit-tokens"
    estimator = Estimator(family)
    ratios = [
        estimator.count(text) / true
        for kind in counted
        for text, true in zip(kind.texts, kind.true, strict=True)
        if kind.kind not in AT_RANDOM
    ]
    assert len(ratios) > 500
    assert sum(ratio < 1 for ratio in ratios) <= 0.02 * len(ratios)
    assert min(ratios) > 0.75
    assert sorted(ratios)[len(ratios) // 2] < 1.25


@given(st.text(max_size=80), st.text(max_size=80), st.sampled_from(list(Family)))
def test_a_text_costs_no_more_than_its_lines(first: str, second: str, family: Family) -> None:
    estimator = Estimator(family)
    whole = estimator.mean_count(f"{first}\n{second}")
    assert whole == pytest.approx(estimator.mean_count(f"{first}\n") + estimator.mean_count(second))
    assert estimator.count(f"{first}\n{second}") <= estimator.count(f"{first}\n") + estimator.count(second)
    assert estimator.count(first) <= estimator.count(first + second)


@given(st.text(max_size=120))
def test_the_weights_by_pair_are_those_by_name(text: str) -> None:
    named = load_fitted()["claude"]["weights"]
    by_name = sum(
        count * named.get(label, 0.0) for label, count in zip(weight_labels(), count_features(text), strict=True)
    )
    assert Estimator().mean_count(text) == pytest.approx(by_name)
    assert Estimator().count(text) >= bool(text)


@given(st.lists(st.text(max_size=40), max_size=8), st.integers(1, 300))
def test_parts_that_are_expected_within_a_limit_are_estimated_within_it(parts: list[str], limit: int) -> None:
    kept, left = "", mean_budget(limit - 1)
    for part in parts:
        if (cost := mean_tokens(f"{part}\n")) <= left:
            kept, left = f"{kept}{part}\n", left - cost
    assert estimate_tokens(kept) <= limit


@given(st.text(max_size=60).map(lambda text: text * 60), st.sampled_from(list(Family)))
def test_short_and_long_texts_are_estimated_alike(text: str, family: Family) -> None:
    table = family_weights(family)
    by_numpy = sum(count * weight for count, weight in zip(count_pairs(text[:2_000]), table, strict=True))
    assert Estimator(family).mean_count(text[:2_000]) == pytest.approx(by_numpy, abs=1e-5)


def test_every_class_costs_something() -> None:
    for family in Family:
        table = expand_weights(load_fitted()[family]["weights"])
        free = [name for name in CLASSES if table[pair_index("digit", name)] + table[pair_index(name, name)] <= 0]
        assert free in ([], ["space"])


@pytest.mark.parametrize("text", ["a\ud800b", "<|endoftext|>", "\x00", "👨‍👩‍👧", ""])
def test_any_text_can_be_counted(text: str) -> None:
    assert (estimate_tokens(text) > 0) == bool(text)


def test_what_was_found_out_is_remembered_within_a_limit() -> None:
    asked: list[str] = []
    known = CachedByText(lambda text: asked.append(text) or len(text), max_chars=10)  # type: ignore[func-returns-value]
    for text in ("aaaa", "bbbb", "aaaa", "cccc", "bbbb", "x" * 11, "x" * 11):
        assert known(text) == len(text)
    assert asked == ["aaaa", "bbbb", "cccc", "bbbb", "x" * 11, "x" * 11]


def test_exact_counts_are_refused_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_module.importlib.util, "find_spec", lambda _name: None)
    for model in ("gpt-4o", "claude-haiku-5-5"):
        with pytest.raises(ConfigurationError, match="agentstate\\[tokens\\]"):
            counter_for(model, "exact")
        assert not counter_for(model, "auto").exact


def test_a_vocabulary_is_never_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(exact_module.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setitem(
        sys.modules, "tiktoken", SimpleNamespace(get_encoding=lambda _name: pytest.fail("it was asked"))
    )
    (tmp_path / exact_module.CACHE_FILES["o200k_base"]).write_text("not the vocabulary")
    for folder in (str(tmp_path), str(tmp_path / "none"), ""):
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", folder)
        with pytest.raises(ConfigurationError, match="never downloads"):
            ExactCounter(Family.O200K)


def test_a_package_that_is_here_counts_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_module.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setitem(
        sys.modules, "ctok", SimpleNamespace(token_count=lambda text, version: len(text) + len(version))
    )
    counter = ExactCounter(Family.CLAUDE)
    assert (counter.exact, counter.name, counter.count("abc")) == (True, "ctok 5.0", 6)
