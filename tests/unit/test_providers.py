"""Which provider is chosen and why; vector spaces; the token estimate; packing of calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from agentstate.errors import ConfigurationError, ProviderRefused
from agentstate.providers import choose as choose_module
from agentstate.providers.choose import choose_embedder, choose_summarizer
from agentstate.providers.clients import strip_credentials
from agentstate.providers.embedding.embedder import LexicalEmbedder, VectorSpace
from agentstate.providers.embedding.minilm import find_model
from agentstate.providers.tokens import estimate_tokens, fit_tokens, pack_texts
from agentstate.settings import Settings

NEEDS_MODEL = pytest.mark.skipif(find_model() is None, reason="the MiniLM model files are not installed")


def settings(**values: object) -> Settings:
    return Settings(database_url="sqlite:///unused.db", **values)  # type: ignore[arg-type]


@NEEDS_MODEL
def test_auto_takes_the_model_files_that_are_installed() -> None:
    embedder = choose_embedder(settings())
    assert embedder.semantic
    assert embedder.describe().ok
    assert embedder.describe().text.startswith("minilm: model files verified")


def test_auto_falls_through_to_keywords_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_module, "find_model", lambda: None)
    embedder = choose_embedder(settings())
    assert not embedder.semantic
    assert not embedder.describe().ok
    assert embedder.describe().text == "lexical: model files not found; no semantic embedder: keyword search only"


def test_auto_names_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    embedder = choose_embedder(settings(minilm_dir=tmp_path))
    assert embedder.describe().name == "lexical"
    assert str(tmp_path) in embedder.describe().text


def test_auto_takes_a_configured_endpoint_first() -> None:
    embedder = choose_embedder(settings(openai_base_url="http://user:pf_test_password@127.0.0.1:1/v1"))
    assert embedder.describe().text == "openai: text-embedding-3-small at http://127.0.0.1:1/v1"
    keyed = choose_embedder(settings(openai_api_key=SecretStr("pf_test_key")))
    assert keyed.space == VectorSpace("openai", "text-embedding-3-small", 1536)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"embedder": "openai"}, "AGENTSTATE_OPENAI_API_KEY"),
        ({"embedder": "minilm", "minilm_dir": Path("/nowhere")}, "AGENTSTATE_MINILM_DIR"),
        ({"summarizer": "anthropic"}, "AGENTSTATE_ANTHROPIC_API_KEY"),
        ({"summarizer": "openai"}, "AGENTSTATE_OPENAI_API_KEY"),
    ],
)
def test_an_explicit_choice_that_cannot_be_met_is_refused(values: dict[str, object], named: str) -> None:
    choices: list[Callable[[Settings], object]] = [choose_embedder, choose_summarizer]
    with pytest.raises(ConfigurationError, match=named):
        choices["summarizer" in values](settings(**values))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "digest"),
        ({"openai_api_key": SecretStr("pf_test_key")}, "digest"),
        ({"openai_api_key": SecretStr("pf_test_key"), "summary_model": "m"}, "openai"),
        ({"anthropic_api_key": SecretStr("pf_test_key")}, "anthropic"),
        ({"anthropic_api_key": SecretStr("pf_test_key"), "summarizer": "digest"}, "digest"),
    ],
)
def test_the_summarizer_follows_the_settings(values: dict[str, object], name: str) -> None:
    summarizer = choose_summarizer(settings(**values))
    assert summarizer.name.partition(":")[0] == name
    assert summarizer.describe().name.partition(":")[0] == name
    assert "pf_test_key" not in summarizer.describe().text


def test_keyword_search_has_no_vectors() -> None:
    embedder = LexicalEmbedder()
    with pytest.raises(ProviderRefused, match="keyword search only"):
        embedder.embed_query("x")
    with pytest.raises(ProviderRefused, match="keyword search only"):
        embedder.embed_documents(["x", "y"])


NAMES = st.text(min_size=1, max_size=80)


@given(NAMES, NAMES, st.integers(1, 4096), NAMES, NAMES)
def test_spaces_have_safe_and_distinct_collections(p: str, m: str, width: int, other: str, revision: str) -> None:
    space = VectorSpace(p, m, width, revision)
    name = space.collection
    assert name.replace("-", "").isascii()
    assert name.replace("-", "").isalnum()
    assert len(name) <= 120
    for different in (VectorSpace(p, m, width + 1, revision), VectorSpace(p, m, width, revision + other)):
        assert different.collection != name
    if other != m:
        assert VectorSpace(p, other, width, revision).collection != name


def test_urls_are_shown_without_their_password() -> None:
    assert strip_credentials("https://a:b@h.example/v1?key=c") == "https://h.example/v1"


@given(st.text(max_size=300), st.integers(1, 50))
def test_a_fitted_text_is_a_head_that_fits(text: str, limit: int) -> None:
    fitted = fit_tokens(text, limit)
    assert text.startswith(fitted)
    assert estimate_tokens(fitted) <= limit


@given(st.lists(st.text(max_size=40), max_size=40), st.integers(1, 8), st.integers(1, 60))
def test_packing_keeps_every_text_once_and_the_limits(texts: list[str], inputs: int, tokens: int) -> None:
    runs = list(pack_texts(texts, max_inputs=inputs, max_tokens=tokens))
    assert [index for run in runs for index in run] == list(range(len(texts)))
    for run in runs:
        assert len(run) <= inputs
        assert len(run) == 1 or sum(estimate_tokens(texts[index]) for index in run) <= tokens
