"""The codec's baseline: the guide's encoder, the standard library's JSON with a hook for Decimal each way.

A Decimal becomes a dict with one tagged key; nothing else is checked, so floats pass, tuples become lists, and a user's
own dict with that key is taken for a Decimal.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

_TAG = "__decimal__"


class _DecimalTagger(json.JSONEncoder):
    def default(self, o: Any) -> Any:
        return {_TAG: str(o)} if isinstance(o, Decimal) else super().default(o)


def _restore_decimal(found: dict[str, Any]) -> Any:
    return Decimal(found[_TAG]) if _TAG in found else found


def dump_json(value: Any) -> str:
    """`value` as the guide's encoder writes it."""
    return json.dumps(value, cls=_DecimalTagger)


def load_json(text: str) -> Any:
    """Parse text with the guide's hook."""
    return json.loads(text, object_hook=_restore_decimal)
