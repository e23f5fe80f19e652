"""What was found out about texts, remembered by the texts themselves, the most recently used ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MAX_CHARS: Final = 4_000_000
"""Texts that are remembered, in characters: about 4 MB of plain English."""


class CachedByText(Generic[T]):
    """A function of one text that is called once for each text while that is remembered. Safe between threads."""

    def __init__(self, function: Callable[[str], T], *, max_chars: int = MAX_CHARS) -> None:
        self._function = function
        self._max_chars = max_chars
        self._chars = 0
        self._known: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, text: str) -> T:
        """What the function gives for `text`."""
        with self._lock:
            if text in self._known:
                self._known.move_to_end(text)
                return self._known[text]
        result = self._function(text)
        self._remember(text, result)
        return result

    def _remember(self, text: str, result: T) -> None:
        with self._lock:
            if len(text) > self._max_chars or text in self._known:
                return
            self._known[text] = result
            self._chars += len(text)
            while self._chars > self._max_chars:
                self._chars -= len(self._known.popitem(last=False)[0])
