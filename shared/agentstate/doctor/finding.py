"""The finding of a check: a verdict, the fact behind it, and a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Result of a check."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well or as safely as it should."""
    FAIL = "fail"
    """A guarantee of the system does not hold."""
    SKIPPED = "skipped"
    """Not run, as a prerequisite failed."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    verdict: Verdict
    found: str
    """The fact, with the value that was read."""
    remedy: str = ""
    """What to do; empty for ok."""


def ok_finding(found: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(Verdict.OK, found)


def warn_finding(found: str, remedy: str) -> Finding:
    """Return a finding that needs attention."""
    return Finding(Verdict.WARN, found, remedy)


def fail_finding(found: str, remedy: str) -> Finding:
    """Return a finding that must be fixed."""
    return Finding(Verdict.FAIL, found, remedy)
