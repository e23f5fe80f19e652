"""The token estimator: a weight for each pair of neighbouring classes of characters, fitted to exact counts.

Vocabularies cut where the class changes, and merge frequent letters of words, so the counts of neighbours predict the
number of tokens. `fitted.json` beside this file holds the weights; `scripts/fit-tokens` makes it, and prints its error.
The estimate is then raised so that in 99 of 100 samples of each length it is not below the true count. It is additive:
of two texts, the second beginning on a line of its own, it is never more than of each of them added up.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agentstate.providers.tokens.families import Family

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FITTED: Final = "fitted.json"
_SHORT: Final = 2_000
"""Characters up to which a text is counted without numpy, which takes a tenth of a second to load."""

# numpy is loaded at the first count: a process that only submits work has no need of it.
Pairs: TypeAlias = "NDArray[np.float64]"
"""How often class `c` follows class `p`, at index `p + 256 * c`."""

CLASSES: Final = (
    "newline", "space", "tab", "vowel", "consonant", "capital", "digit", "joiner", "punctuation", "bracket", "sign",
    "control", "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "indic", "thai", "han", "kana",
    "hangul", "emoji", "mark", "symbol", "other",
)  # fmt: skip
"""Classes of characters; their numbers are their places."""

ASCII: Final = CLASSES[:11]
"""The classes between which every pair has a weight of its own."""

_RANGES: Final = (
    (0x00, 0x1F, "control"), (0x7F, 0x9F, "control"), (0x09, 0x09, "tab"), (0x0A, 0x0A, "newline"),
    (0x0D, 0x0D, "newline"), (0x20, 0x20, "space"), (0x21, 0x2F, "sign"), (0x3A, 0x40, "sign"), (0x5B, 0x60, "sign"),
    (0x7B, 0x7E, "sign"), (0x30, 0x39, "digit"), (0x41, 0x5A, "capital"), (0x61, 0x7A, "consonant"),
    (0xA0, 0xBF, "symbol"), (0xC0, 0x24F, "latin"), (0x1E00, 0x1EFF, "latin"), (0x300, 0x36F, "mark"),
    (0x370, 0x3FF, "greek"), (0x1F00, 0x1FFF, "greek"), (0x400, 0x52F, "cyrillic"), (0x590, 0x5FF, "hebrew"),
    (0x600, 0x6FF, "arabic"), (0x750, 0x77F, "arabic"), (0x8A0, 0x8FF, "arabic"), (0xFB50, 0xFDFF, "arabic"),
    (0xFE70, 0xFEFF, "arabic"), (0x900, 0x97F, "devanagari"), (0x980, 0xDFF, "indic"), (0xE00, 0xE7F, "thai"),
    (0x1100, 0x11FF, "hangul"), (0x3130, 0x318F, "hangul"), (0xAC00, 0xD7AF, "hangul"), (0x2000, 0x2BFF, "symbol"),
    (0x200B, 0x200F, "mark"), (0x2600, 0x27BF, "emoji"), (0x3000, 0x303F, "symbol"), (0x3040, 0x30FF, "kana"),
    (0x3400, 0x9FFF, "han"), (0xF900, 0xFAFF, "han"), (0xFE00, 0xFE0F, "mark"), (0xFF00, 0xFF65, "symbol"),
    (0xFF66, 0xFF9F, "kana"), (0x1F000, 0x1FFFF, "emoji"), (0x20000, 0x3FFFF, "han"), (0xE0000, 0xE01EF, "mark"),
)  # fmt: skip
"""First and last character of each range; later ones win over earlier ones."""
_SINGLE: Final = {
    "vowel": "aeiou",
    "punctuation": ".,;:!?'\"",
    "bracket": "()[]{}<>",
    "joiner": "_-",
    "symbol": "\xd7\xf7",
}
_CODE_POINTS: Final = 0x110000
WIDTH: Final = 256
"""Distance of the places of two classes in `Pairs`."""
_BLOCK: Final = 2_048


def class_number(name: str) -> int:
    """The number of a class."""
    return CLASSES.index(name)


def pair_index(before: str, after: str) -> int:
    """Return the index in `Pairs` for class `after` behind class `before`."""
    return class_number(before) + WIDTH * class_number(after)


PAIRS: Final = WIDTH * len(CLASSES)
"""Length of `Pairs`."""


def count_short_pairs(text: str) -> Counter[tuple[int, int]]:
    """(class, class before it) with their number, of a short text; needs no numpy."""
    classes = text.encode("ascii").translate(_ascii_classes()) if text.isascii() else bytes(map(character_class, text))
    return Counter(zip(classes, b"\x00" + classes, strict=False))


def count_pairs(text: str) -> Pairs:
    """Count the pairs of neighbouring classes in `text`, with a line break assumed before it."""
    import numpy as np

    # In a text that is not ASCII, most blocks are; their classes are found by the faster way.
    blocks = (text,) if text.isascii() else (text[begin : begin + _BLOCK] for begin in range(0, len(text), _BLOCK))
    classes = np.frombuffer(b"".join((b"\x00", *map(_classify_block, blocks))), np.uint8)
    counts = np.zeros(PAIRS)
    for shift in (0, 1):  # every pair of neighbours, read as one number of two bytes
        pairs = classes[shift : shift + (classes.size - shift) // 2 * 2].view("<u2")
        counts += np.bincount(pairs, minlength=PAIRS)
    return counts


@cache
def character_class(character: str) -> int:
    """The class of one character."""
    for name, characters in _SINGLE.items():
        if character in characters:
            return class_number(name)
    code = ord(character)
    return class_number(next((name for first, last, name in reversed(_RANGES) if first <= code <= last), "other"))


def _classify_block(block: str) -> bytes:
    """Return the class of each character."""
    if block.isascii():
        return block.encode("ascii").translate(_ascii_classes())
    import numpy as np

    codes = np.frombuffer(block.encode("utf-32-le", "surrogatepass"), "<u4")
    return bytes(_class_table()[codes])


@cache
def _ascii_classes() -> bytes:
    return bytes(character_class(chr(code)) for code in range(WIDTH))


@cache
def _class_table() -> NDArray[np.uint8]:
    import numpy as np

    table: NDArray[Any] = np.full(_CODE_POINTS, class_number("other"), np.uint8)
    for first, last, name in _RANGES:
        table[first : last + 1] = class_number(name)
    for name, characters in _SINGLE.items():
        table[[ord(character) for character in characters]] = class_number(name)
    return table


class Estimator:
    """Estimates tokens of one family: fast, without a vocabulary, high rather than low."""

    exact = False

    def __init__(self, family: Family = Family.CLAUDE) -> None:
        self.family = family
        self._weights = family_weights(family)
        raised = load_fitted()[family]
        self._margin, self._slack = float(raised["margin"]), float(raised["slack"])

    @property
    def name(self) -> str:
        """Name of the method, for people."""
        return f"estimate for {self.family}"

    def count(self, text: str) -> int:
        """Estimated tokens of `text`, in nearly all cases at least the true number; 0 for the empty text."""
        if not text:
            return 0
        middle = self.mean_count(text)
        return math.ceil(self._margin * middle + self._slack * math.sqrt(middle))

    def mean_budget(self, count: float) -> float:
        """Return the largest unraised estimate that stays within `count` once raised."""
        root = math.sqrt(self._slack**2 + 4 * self._margin * count)
        return float(((root - self._slack) / (2 * self._margin)) ** 2)

    def mean_count(self, text: str) -> float:
        """The estimate before it is raised: as often too low as too high."""
        if len(text) <= _SHORT:
            table = self._weights
            middle = sum(
                count * table[before + WIDTH * after] for (after, before), count in count_short_pairs(text).items()
            )
        else:
            middle = float(count_pairs(text) @ _weights_array(self.family))
        return round(middle, 6)


@cache
def load_fitted() -> dict[str, dict[str, Any]]:
    """Load the fitted `weights`, `margin` and `slack` of each family."""
    document: dict[str, Any] = json.loads(files(__package__).joinpath(FITTED).read_text("utf-8"))
    families: dict[str, dict[str, Any]] = document["families"]
    return families


@cache
def family_weights(family: Family) -> list[float]:
    """Tokens for each pair of classes, at the places of `Pairs`."""
    return expand_weights(load_fitted()[family]["weights"])


@cache
def _weights_array(family: Family) -> Pairs:
    import numpy as np

    return np.array(family_weights(family))


def weight_labels() -> list[str]:
    """The weights by name: of a class, of a class where another one stood before it, and of pairs within ASCII."""
    pairs = [f"{before}>{after}" for before in ASCII for after in ASCII]
    return [*CLASSES, *(f"*>{name}" for name in CLASSES), *pairs]


def expand_weights(named: dict[str, float]) -> list[float]:
    """Named weights as one weight for each pair."""
    table = [0.0] * PAIRS
    for label, weight in named.items():
        before, _, after = label.rpartition(">")
        if before in CLASSES:
            table[pair_index(before, after)] += weight
        else:
            for name in CLASSES:
                table[pair_index(name, after)] += weight if not before or name != after else 0.0
    return table


def count_features(text: str) -> Pairs:
    """Count the features of `text` in the order of `weight_labels()`."""
    import numpy as np

    pairs = count_pairs(text).reshape(len(CLASSES), -1)[:, : len(CLASSES)].T
    changed = pairs.copy()
    np.fill_diagonal(changed, 0)
    ascii_numbers = [class_number(name) for name in ASCII]
    return np.concatenate((pairs.sum(0), changed.sum(0), pairs[np.ix_(ascii_numbers, ascii_numbers)].ravel()))
