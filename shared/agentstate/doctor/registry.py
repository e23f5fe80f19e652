"""The list of checks in the order in which they run, and how they run.

An exception in a check is a finding too, and a check whose prerequisite failed is skipped, so that the report on a
broken system is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from agentstate.doctor import configuration, database, qdrant, redis_server, services
from agentstate.doctor.finding import Finding, Verdict, fail_finding
from agentstate.doctor.system import System
from agentstate.errors import AgentStateError, InvalidInput

Examine: TypeAlias = Callable[[System], Finding]


@dataclass(frozen=True)
class Check:
    """One check: its name, its function, and the check that must have passed before."""

    name: str
    run: Examine
    needs: str | None = "settings"


@dataclass(frozen=True)
class CheckResult:
    """A check's name and its finding."""

    check: str
    finding: Finding

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON."""
        return {"check": self.check, **asdict(self.finding)}


def _redis_checks(name: str, setting: str) -> list[Check]:
    def with_url(examine: Callable[[System, str], Finding]) -> Examine:
        return lambda system: examine(system, getattr(system.settings, setting))

    return [
        Check(name, with_url(redis_server.check_version)),
        Check(f"{name}-eviction", with_url(redis_server.check_eviction), needs=name),
        Check(f"{name}-persistence", with_url(redis_server.check_persistence), needs=name),
    ]


CHECKS: tuple[Check, ...] = (
    Check("python", configuration.check_python, needs=None),
    Check("packages", configuration.check_packages, needs=None),
    Check("settings", configuration.check_settings, needs=None),
    Check("disk", configuration.check_disk, needs=None),
    Check("database", database.check_database),
    Check("encoding", database.check_encoding, needs="database"),
    Check("durability", database.check_durability, needs="database"),
    Check("schema", database.check_schema, needs="database"),
    Check("rights", database.check_rights, needs="schema"),
    Check("ledger-months", database.check_ledger_months, needs="schema"),
    Check("memories", qdrant.check_memories, needs="schema"),
    Check("database-clock", database.check_database_clock, needs="database"),
    *_redis_checks("redis", "redis_url"),
    Check("redis-clock", database.check_redis_clock, needs="redis"),
    *_redis_checks("broker", "broker_url"),
    Check("qdrant", qdrant.check_qdrant),
    Check("embedder", qdrant.check_embedder),
    Check("summarizer", qdrant.check_summarizer),
    Check("services", services.check_service_routes),
    Check("workers", redis_server.check_workers, needs="broker"),
)
"""Every check, prerequisites first."""

NAMES = tuple(check.name for check in CHECKS)


def run_checks(system: System, *, only: Iterable[str] = (), skip: Iterable[str] = ()) -> list[CheckResult]:
    """Run all checks, or `only` some, without those to `skip`.

    Raises:
        InvalidInput: there is no check of that name.
    """
    outcomes: dict[str, Finding] = {}
    for check in select_checks(tuple(only), tuple(skip)):
        needed = outcomes.get(check.needs or "")
        if needed is not None and needed.verdict in {Verdict.FAIL, Verdict.SKIPPED}:
            outcomes[check.name] = Finding(Verdict.SKIPPED, f"skipped, as the check {check.needs} did not pass")
        else:
            outcomes[check.name] = run_check(check.run, system)
    return [CheckResult(name, finding) for name, finding in outcomes.items()]


def select_checks(only: Sequence[str], skip: Sequence[str]) -> list[Check]:
    """Return the selected checks; raise InvalidInput for an unknown name."""
    unknown = sorted({*only, *skip} - set(NAMES))
    if unknown:
        raise InvalidInput(f"there is no check {', '.join(unknown)}; there are {', '.join(NAMES)}.")
    return [check for check in CHECKS if (not only or check.name in only) and check.name not in skip]


def is_well(examined: Iterable[CheckResult]) -> bool:
    """Whether no check failed."""
    return all(item.finding.verdict is not Verdict.FAIL for item in examined)


def run_check(examine: Examine, system: System) -> Finding:
    """Return the finding of a check; its own exception becomes a finding too."""
    try:
        return examine(system)
    except AgentStateError as error:
        return fail_finding(error.message, "Fix this, then run the check again.")
    except Exception as error:  # noqa: BLE001 what breaks a check is what the user has to know
        return fail_finding(f"the check itself failed: {type(error).__name__}: {error}", "See the logs of that part.")
