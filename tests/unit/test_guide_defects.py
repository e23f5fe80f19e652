"""Every known defect of the guide's code has a test that carries its number as a marker.

The guide is the article whose design this project implements; `docs/guide-defects.md` lists the 150 defects.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

DEFECTS: dict[str, range] = {
    "CheckpointManager": range(1, 21),
    "AgentDB": range(21, 35),
    "the codec for JSON": range(35, 45),
    "the codec for MessagePack": range(45, 53),
    "AgentState.migrate": range(53, 60),
    "TransactionLedger": range(60, 76),
    "EpisodicStore": range(76, 87),
    "AgentProfile": range(87, 94),
    "StateSync": range(94, 100),
    "ContextBudget": range(100, 110),
    "the guards": range(110, 117),
    "SemanticMemory and HybridMemory": range(117, 128),
    "PurpleFleatStateCache": range(128, 139),
    "ConversationHistory": range(139, 146),
    "the best practices": range(146, 151),
}


@cache
def read_marked_numbers() -> frozenset[int]:
    """Return the numbers in the `guide_defect` markers of all tests."""
    sources = "\n".join(path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))
    return frozenset(
        int(number) for number in re.findall(r"^\s*@pytest\.mark\.guide_defect\(([0-9]+)\)$", sources, re.MULTILINE)
    )


@pytest.mark.parametrize("owner", DEFECTS)
def test_every_defect_of_a_class_has_a_marked_test(owner: str) -> None:
    missing = sorted(set(DEFECTS[owner]) - read_marked_numbers())
    assert missing == [], f"no test is marked guide_defect({missing[0]}), a defect of {owner}"


def test_the_classes_have_all_defects_between_them() -> None:
    assert sorted(number for numbers in DEFECTS.values() for number in numbers) == list(range(1, 151))
    assert max(read_marked_numbers()) <= 150
