"""One thing done while another is: while a text is embedded, the index is asked what needs no vector."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def meanwhile(call: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Let `call` run in a thread of its own during the block; afterwards, what is given returns or raises as it did."""
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:  # noqa: BLE001 raised again where the result is asked for
            raised.append(error)

    def result() -> T:
        if raised:
            raise raised[0]
        return returned[0]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield result
    finally:
        thread.join()
