"""English number words: `twenty-five`, `two hundred and ten`, `a dozen`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_ONES: Final = "one|two|three|four|five|six|seven|eight|nine"
_TEENS: Final = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS: Final = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_SMALL: Final = {
    "zero": 0,
    "dozen": 12,
    **{word: value for value, word in enumerate(f"{_ONES}|{_TEENS}".split("|"), start=1)},
    **{word: value * 10 for value, word in enumerate(_TENS.split("|"), start=2)},
}
_LARGE: Final = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_BELOW_100: Final = rf"(?:(?:{_TENS})(?:[ -](?:{_ONES}))?|{_TEENS}|{_ONES}|zero|dozen)"
_BELOW_1000: Final = rf"(?:(?:{_BELOW_100}[ ])?hundred(?:[ ](?:and[ ])?{_BELOW_100})?|{_BELOW_100})"

WORD_NUMBER: Final = (
    rf"(?:(?:{_BELOW_1000}[ ])?(?:thousand|million|billion)(?:[ ](?:and[ ])?{_BELOW_1000})?|{_BELOW_1000})"
)
"""Regular expression of one number in words; match it without regard to case and between word borders."""


def word_number(text: str) -> Decimal:
    """Value of what `WORD_NUMBER` matched."""
    total, part = 0, 0
    for word in re.split(r"[ -]", text.lower()):
        if word in _SMALL:
            part += _SMALL[word]
        elif word == "hundred":
            part = max(part, 1) * 100
        elif word in _LARGE:
            total, part = total + max(part, 1) * _LARGE[word], 0
    return Decimal(total + part)
