"""Kinds of text that agents put into prompts, made from a seed, so that every machine measures the same letters.

Two kinds are real text that is not made here: `chat` is read from the LoCoMo data set, `code` from the modules of the
running Python.
"""

from __future__ import annotations

import base64
import json
import random
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from bench.tokens.languages import EMOJI, ENGLISH, OTHERS

Make = Callable[[random.Random], Iterator[str]]
"""Pieces without end."""

LENGTHS: Final = (200, 800, 3_000)
"""Sizes of samples, in characters."""
SHARED_DATA: Final = Path(__file__).resolve().parents[3] / "shared" / "data"
"""The folder of public data sets, where there is one."""
CHAT: Final = Path("locomo/locomo10.json")
"""The chat within it."""
_SERVICES: Final = ("wallet", "casino", "trading", "domains", "faucet", "escrow")
_ASSETS: Final = ("USDC", "ETH", "BTC", "SOL", "USDT")
_MODULES: Final = ("argparse", "asyncio/base_events", "csv", "decimal", "http/client", "json/decoder", "logging/config",
                   "pathlib", "pickle", "queue", "socket", "sqlite3/dbapi2", "statistics", "subprocess", "tarfile",
                   "threading", "typing", "unittest/case", "uuid", "zipfile")  # fmt: skip
_SCRIPTS: Final = ((0x531, 0x556), (0x985, 0x9B9), (0xB85, 0xBB9), (0xC05, 0xC39), (0xE81, 0xEA3), (0x1000, 0x1049),
                   (0x10D0, 0x10FA), (0x1200, 0x1248), (0x1780, 0x17B3), (0xF40, 0xF6C), (0x250, 0x2AF))  # fmt: skip
_SYMBOLS: Final = ((0x2190, 0x21FF), (0x2200, 0x22FF), (0x2500, 0x257F), (0x2010, 0x2044), (0x20A0, 0x20BF),
                   (0x300, 0x36F), (0x01, 0x1F), (0x3001, 0x301F), (0xA1, 0xBF), (0x21, 0x2F))  # fmt: skip
_BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sample:
    """A text of one kind."""

    kind: str
    text: str


def samples(kind: str, make: Make, *, seed: int, each: int) -> Iterator[Sample]:
    """`each` samples of every length; the same ones for the same seed."""
    draw = random.Random(f"{kind}:{seed}")  # noqa: S311 texts, not secrets
    pieces = make(draw)
    for length in LENGTHS:
        for _ in range(each):
            yield Sample(kind, _cut(pieces, length))


def _cut(pieces: Iterator[str], length: int) -> str:
    text = ""
    while len(text) < length:
        text += next(pieces)
    return text[:length]


def chunks(kind: str, text: str, *, draw: random.Random, each: int) -> Iterator[Sample]:
    """`each` pieces of every length from anywhere in a real text."""
    for length in LENGTHS:
        for _ in range(each):
            begin = draw.randrange(max(1, len(text) - length))
            yield Sample(kind, text[begin : begin + length])


def locomo(path: Path) -> str:
    """The turns of the LoCoMo data set as one text."""
    turns = (
        f"{turn['speaker']}: {turn['text']}"
        for entry in json.loads(path.read_text("utf-8"))
        for name, session in entry["conversation"].items()
        if isinstance(session, list) and name.startswith("session")
        for turn in session
    )
    return "\n".join(turns)


def python_code() -> str:
    """Modules of the running Python's library as one text."""
    library = Path(sysconfig.get_paths()["stdlib"])
    return "\n".join(path.read_text("utf-8") for name in _MODULES if (path := library / f"{name}.py").exists())


def _prose(draw: random.Random) -> Iterator[str]:
    while True:
        yield " ".join(draw.sample(ENGLISH, 4)) + draw.choice(("\n\n", " "))


def _languages(draw: random.Random) -> Iterator[str]:
    while True:
        sentences = OTHERS[draw.choice(sorted(OTHERS))]
        yield " ".join(draw.sample(sentences, 3)) + "\n"


def _emoji(draw: random.Random) -> Iterator[str]:
    while True:
        yield f"{draw.choice(ENGLISH)} {''.join(draw.choices(EMOJI, k=draw.randint(1, 4)))} "


def _moment(draw: random.Random) -> str:
    return (_BEGIN + timedelta(seconds=draw.randrange(28_000_000), microseconds=draw.randrange(10**6))).isoformat()


def _amount(draw: random.Random) -> str:
    sign = draw.choice(("", "-"))
    whole, cents = draw.randrange(10 ** draw.randint(1, 6)), draw.randrange(10 ** draw.randint(2, 6))
    return f"{sign}{whole}.{cents:02d}"


def _json(draw: random.Random) -> Iterator[str]:
    while True:
        record = {
            "id": str(UUID(int=draw.getrandbits(128), version=4)),
            "service": draw.choice(_SERVICES),
            "type": draw.choice(("bet", "trade", "transfer", "escrow_open", "domain_renewal")),
            "amount": _amount(draw),
            "currency": draw.choice(_ASSETS),
            "at": _moment(draw),
            "tx_hash": f"0x{draw.getrandbits(256):064x}",
            "outcome": {"won": draw.random() < 0.5, "balance_after": _amount(draw), "note": None},  # noqa: PLR2004
        }
        yield json.dumps(record, indent=draw.choice((None, None, 2))) + "\n"


def _ledger(draw: random.Random) -> Iterator[str]:
    while True:
        service, asset = draw.choice(_SERVICES), draw.choice(_ASSETS)
        yield (
            f"{_moment(draw)[:19]}Z {service}:{draw.choice(('bet', 'fee', 'deposit'))}-{draw.randrange(10**5)} "
            f"{_amount(draw)} {asset} balance {_amount(draw)} {asset}\n"
        )


def _hex(draw: random.Random) -> Iterator[str]:
    while True:
        digits = draw.choice((40, 64))
        yield f"{draw.choice(('0x', ''))}{draw.getrandbits(4 * digits):0{digits}x}\n"


def _base64(draw: random.Random) -> Iterator[str]:
    while True:
        yield base64.b64encode(draw.randbytes(draw.choice((48, 96, 240)))).decode() + "\n"


def _markdown(draw: random.Random) -> Iterator[str]:
    while True:
        yield f"## {draw.choice(ENGLISH).split(',')[0].rstrip('.')}\n\n| asset | amount | at |\n|---|---:|---|\n"
        for _ in range(draw.randint(2, 5)):
            yield f"| **{draw.choice(_ASSETS)}** | `{_amount(draw)}` | {_moment(draw)[:10]} |\n"
        todo = draw.choice(ENGLISH)
        link = f"https://example.com/{draw.choice(_SERVICES)}?id={draw.randrange(10**6)}"
        yield f"\n- [ ] {todo}\n- [x] see {link}\n\n"


def _identifiers(draw: random.Random) -> Iterator[str]:
    words = [word.strip(".,;?") for sentence in ENGLISH for word in sentence.split()]
    while True:
        some = [draw.choice(words) for _ in range(draw.randint(2, 4))]
        style = draw.choice((_camel, "_".join, "-".join, lambda parts: "_".join(parts).upper()))
        yield f"{style(some)}{draw.choice((' = ', ', ', '();', ': '))}{draw.choice((chr(10), ' '))}"


def _other_scripts(draw: random.Random) -> Iterator[str]:
    """Letters at random of scripts that no sentence above is written in: an upper bound for real words."""
    while True:
        first, last = draw.choice(_SCRIPTS)
        words = ("".join(chr(draw.randint(first, last)) for _ in range(draw.randint(2, 8))) for _ in range(12))
        yield " ".join(words) + "\n"


def _symbols(draw: random.Random) -> Iterator[str]:
    while True:
        first, last = draw.choice(_SYMBOLS)
        yield "".join(chr(draw.randint(first, last)) for _ in range(20))
        yield draw.choice(("\n", " ", "\t\t", "    ", "\x00", "\x1b[0m", "e\u0301\u0323", "----", "====", "…"))


def _short_lines(draw: random.Random) -> Iterator[str]:
    words = [word for sentence in ENGLISH for word in sentence.split()]
    while True:
        yield draw.choice(("- ", "* ", "", "", "1. ", "  ", "> "))
        yield draw.choice((str(draw.randrange(10)), _amount(draw), draw.choice(words), draw.choice(_ASSETS)))
        yield draw.choice(("\n", "\n", "\n", ",\n", ", ", ";", "\t", "\r\n", "\n\n"))


def _runs(draw: random.Random) -> Iterator[str]:
    """The same sign again and again, as in rules, fill and laughter."""
    while True:
        yield draw.choice("-=._*#~!?>/|0 9ahxAX\t") * draw.randint(2, 60) + draw.choice(("\n", " "))


def _camel(parts: Iterable[str]) -> str:
    return "".join(part.capitalize() for part in parts)


MADE: Final[dict[str, Make]] = {
    "prose": _prose,
    "markdown": _markdown,
    "JSON with ids": _json,
    "ledger lines": _ledger,
    "identifiers": _identifiers,
    "16 languages": _languages,
    "prose with emoji": _emoji,
    "hex hashes": _hex,
    "base64": _base64,
    "short lines": _short_lines,
    "runs of one sign": _runs,
    "other scripts": _other_scripts,
    "symbols": _symbols,
}
"""The kinds that are made from a seed."""
