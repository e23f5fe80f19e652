"""Refusals: an operation that was turned down before it had any effect."""

from __future__ import annotations


class Refusal(Exception):
    """A service says no; whatever the operation had written is rolled back.

    Args:
        status: HTTP status of the answer.
        code: the service's error code.
        message: the sentence beside the code.
        details: further members of the answer, amounts in micro-dollars.
    """

    def __init__(self, status: int, code: str, message: str = "", /, **details: int | str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details
