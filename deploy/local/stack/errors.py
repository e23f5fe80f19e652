"""Errors of the one-machine stack; every text names the remedy.

StackError
├── AlreadyRunning     another supervisor owns this data folder
├── NotRunning         nothing runs on this data folder
├── FolderUnusable     the data folder cannot be written, or its disk is full
├── PortTaken          a port that was asked for is in use
├── ServerMissing      no server program for this platform
└── StartFailed        a process did not become ready; carries the end of its log
"""

from __future__ import annotations

from agentstate.errors import AgentStateError


class StackError(AgentStateError):
    """Root of the errors of the one-machine stack."""


class AlreadyRunning(StackError):
    """A stack runs on this data folder already; nothing was started."""


class NotRunning(StackError):
    """No stack runs on this data folder."""


class FolderUnusable(StackError):
    """The data folder cannot be used; nothing was started."""


class PortTaken(StackError):
    """A port that was asked for is in use by another program; nothing was started."""


class ServerMissing(StackError):
    """A server program was not found; nothing was started."""


class StartFailed(StackError):
    """A process did not become ready; the others were stopped and all data was kept."""
