"""Random histories of effects against a model; and planted bugs, each of which the same machine finds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.engine import Engine

from agentstate.errors import ServiceUnreachable
from agentstate.money import Effects
from agentstate.money.effects import recorder as effect_recorder
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.claims import Claim, EffectRules
from agentstate.money.effects.outcomes import OutcomeRecord
from agentstate.store.engine import open_engine
from agentstate.store.store import Transaction
from agentstate.store.tables.money import effects
from tests.integration.money.effect_machine import EffectMachine
from tests.worlds.effects import Fate

QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
# The same histories at every run: what the default run says never depends on chance.
SHORT = settings(max_examples=12, stateful_step_count=20, derandomize=True, **QUIET)
FINDING = settings(
    max_examples=1_500,  # the search ends with the first that shows the bug
    stateful_step_count=20,
    derandomize=True,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    **QUIET,
)
LONG = settings(max_examples=150, stateful_step_count=40, derandomize=True, **QUIET)


@pytest.fixture(scope="module")
def sqlite_engine(_sqlite_template: Path, fast_folder: Path) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(dir=fast_folder) as folder:
        path = Path(folder) / "agentstate.db"
        shutil.copy(_sqlite_template, path)
        engine = open_engine(f"sqlite:///{path}")
        yield engine
        engine.dispose()


def run(engine: Engine, chosen: settings, **focus: Any) -> None:
    machine = type("Machine", (EffectMachine,), {"engine": engine, **focus})
    run_state_machine_as_test(machine, settings=chosen)


def test_effects_do_what_the_model_says(sqlite_engine: Engine) -> None:
    run(sqlite_engine, SHORT)


@pytest.mark.long
def test_effects_do_what_the_model_says_at_length(sqlite_engine: Engine) -> None:
    run(sqlite_engine, LONG)


@pytest.mark.long
def test_effects_on_postgres_do_what_the_model_says_at_length(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    run(engine, LONG)
    engine.dispose()


def calls_again_without_looking(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Effects, "_resume", lambda self, plan, claim: self._begin_attempt(plan, claim, clean=False))


def takes_a_lost_answer_for_not_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(effect_recorder, "ServiceUnreachable", (ServiceUnreachable, TimeoutError))


def takes_every_refusal_for_final(patch: pytest.MonkeyPatch) -> None:
    whole = Claim.renew
    patch.setattr(Claim, "renew", lambda self, *, clean: whole(self, clean=True))


def trusts_a_keyed_remote_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EffectRules, "remembers_key", lambda self, age: True)


def forgets_to_give_the_hold_back(patch: pytest.MonkeyPatch) -> None:
    whole = OutcomeRecord.make_settlement

    def make_settlement(self: OutcomeRecord, effect: Any, held: Any, **options: Any) -> Any:
        return whole(self, effect, [] if self.state == "failed" else held, **options)

    patch.setattr(OutcomeRecord, "make_settlement", make_settlement)


def does_not_look_at_the_fence(patch: pytest.MonkeyPatch) -> None:
    def guarded(tx: Transaction, effect_id: Any, _fence: int, values: Any) -> bool:
        return tx.connection.execute(sa.update(effects).where(effects.c.id == effect_id).values(values)).rowcount == 1

    patch.setattr(effect_rows, "update_claimed", guarded)


DOUBT = (Fate.LOST_ANSWER, Fate.ANSWERED, Fate.LOST_ANSWER, Fate.REFUSED)
# Each with the class of effects and the fates among which it shows: the whole range finds it too, but takes longer.
BUGS: list[tuple[Callable[[pytest.MonkeyPatch], None], str, tuple[Fate, ...]]] = [
    (takes_a_lost_answer_for_not_sent, "verifiable:1", DOUBT),
    (calls_again_without_looking, "verifiable:1", DOUBT),
    (takes_every_refusal_for_final, "keyed:1", DOUBT),
    (trusts_a_keyed_remote_for_ever, "keyed:1", DOUBT),
    (does_not_look_at_the_fence, "keyed:1", DOUBT),
    (forgets_to_give_the_hold_back, "keyed:1", (Fate.REFUSED,)),
]


@pytest.mark.parametrize(
    ("plant", "key", "fates"),
    [
        pytest.param(*bug, id=bug[0].__name__, marks=[pytest.mark.long] if number else [])
        for number, bug in enumerate(BUGS)
    ],
)
def test_a_planted_bug_is_found(
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    key: str,
    fates: tuple[Fate, ...],
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        run(sqlite_engine, FINDING, keys=[key], fates=fates)
