"""The test run: its fixtures come from `tests/worlds`, and no setting or stack of the developer's reaches a test."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from types import FrameType

import pytest

from agentstate.settings import ENV_FILE_VARIABLE, PREFIX

pytest_plugins = [
    "tests.worlds.books",
    "tests.worlds.commands",
    "tests.worlds.engine",
    "tests.worlds.memories",
    "tests.worlds.servers",
    "tests.worlds.services",
]

LONGEST = ("tests/chaos/", "tests/integration/test_stack.py", "tests/integration/test_worker.py")


def pytest_configure() -> None:
    """Let Ctrl-C count: a shell that starts the tests in the background has it ignored, by all their programs too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector not walk through thousands of tests again and again: they stay to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """The scheduler of `--dist loadfile`; its module is imported here, as a run in one process needs no xdist."""
    from tests.lanes import Lanes

    return Lanes(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: at the end, one process would be at them while the others have nothing left."""
    items.sort(key=lambda item: not (item.nodeid.startswith(LONGEST) or item.get_closest_marker("long")))


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of the developer's shell, and no stack that runs in this tree, reaches a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            patch.delenv(name)
        empty = tmp_path_factory.mktemp("settings") / "env"
        empty.touch()
        patch.setenv(ENV_FILE_VARIABLE, str(empty))
        yield


@pytest.fixture(scope="session", autouse=True)
def _stop_on_sigterm() -> Iterator[None]:
    """A test run that is ended by SIGTERM stops its servers, as one ended by Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)
