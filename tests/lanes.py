"""How the files of a run in several processes are shared out: whole files, and the longest one after the other.

Tests that run whole stacks and kill them mostly wait. One process takes them in turn while the others go through the
rest, so that never two such stacks compete for the same cores.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

WHOLE_STACKS = ("tests/chaos/", "tests/integration/test_demo.py", "tests/integration/test_ingest_kill.py")
"""Where the tests are that belong in the one lane."""


class Lanes(LoadFileScheduling):  # type: ignore[misc] # xdist comes without types
    """One lane for `WHOLE_STACKS`; every other file is a piece of its own."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "whole stacks" if file.startswith(WHOLE_STACKS) else file
