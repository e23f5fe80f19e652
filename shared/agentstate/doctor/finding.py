"""What a check found: a verdict, the fact behind it, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well or as safely as it should."""
    FAIL = "fail"
    """A promise of the system cannot be kept like this."""
    SKIPPED = "skipped"
    """Not looked at, since something that it needs has failed."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    verdict: Verdict
    found: str
    """What is the case, with the value that was read."""
    remedy: str = ""
    """What to do; empty when all is well."""


def ok_finding(found: str) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, found)


def warn_finding(found: str, remedy: str) -> Finding:
    """It works, but should be looked at."""
    return Finding(Verdict.WARN, found, remedy)


def fail_finding(found: str, remedy: str) -> Finding:
    """It must be put right."""
    return Finding(Verdict.FAIL, found, remedy)
