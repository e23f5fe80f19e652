"""Reading transcripts: a file of turns, as JSON, as JSON lines, or in LoCoMo's form.

Reading never stops at a bad turn: it yields a `Problem` that names the line and the reason, and goes on. A turn without
an id of its own gets one from its text and how often that came before, so that the same file read twice gives the same
turns.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

from agentstate.errors import InvalidInput, TooLarge
from agentstate.ids import shorten_repr, validate_name
from agentstate.memory.conversation.turns import NewTurn, validate_turn
from agentstate.memory.ingest import locomo
from agentstate.settings import Settings
from agentstate.state import codec

MAX_LINE_BYTES = 32 * 1024 * 1024
LINE_SUFFIXES = frozenset({".jsonl", ".ndjson"})

_FIELDS = frozenset(
    {"agent", "agent_id", "session", "speaker", "time", "text", "id", "role", "metadata", "content", "timestamp"}
)


@dataclass(frozen=True, kw_only=True)
class TranscriptTurn:
    """One turn of a transcript, checked."""

    line: int
    agent_id: str
    session: str
    turn: NewTurn
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A turn that is refused, with the reason; no part of it is stored."""

    line: int
    """1 is the first of the file; of a LoCoMo file the line of the conversation."""
    where: str
    """The turn, as far as it can be named."""
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}{f' ({self.where})' if self.where else ''}: {self.reason}"


Parsed: TypeAlias = TranscriptTurn | Problem
Form: TypeAlias = Literal["auto", "jsonl", "json", "locomo"]
FORMS: tuple[Form, ...] = get_args(Form)


def read_transcript(
    path: Path | str, settings: Settings, *, form: Form = "auto", agent_id: str | None = None
) -> Iterator[Parsed]:
    """Yield the turns of the file at `path` in order, and a problem in the place of each that is refused.

    Args:
        path: the file.
        settings: limits of size.
        form: `jsonl` reads an object a line, `json` one document, `locomo` one document of LoCoMo's conversations;
            `auto` goes by the name and the beginning of the file.
        agent_id: the agent of turns that name none.

    Raises:
        InvalidInput: there is no such file, or it cannot be opened.
    """
    if form not in FORMS:
        raise InvalidInput(f"form is {shorten_repr(form)}; give one of {', '.join(FORMS)}. Nothing was stored.")
    if agent_id is not None:
        validate_name(agent_id, "agent_id")
    if not isinstance(path, str | Path):
        raise InvalidInput(f"path is {shorten_repr(path)}; give the path of a file. Nothing was stored.")
    path = Path(path)
    reader = TurnReader(settings, agent_id=agent_id, locomo_only=form == "locomo")
    try:
        file = path.open("rb")
    except ValueError:
        raise InvalidInput(f"path is {shorten_repr(path)}, which names no file; correct it.") from None
    except OSError as error:
        raise InvalidInput(
            f"the transcript {str(path)[-200:]} cannot be opened: {error.strerror}. Nothing was stored."
        ) from None
    with file:
        for item in _iterate_items(file, path.suffix.lower(), form):
            yield from [item] if isinstance(item, Problem) else reader.read_turns(*item)


class TurnReader:
    """Makes turns of the objects of a transcript."""

    def __init__(self, settings: Settings, *, agent_id: str | None = None, locomo_only: bool = False) -> None:
        self._agent_id = agent_id
        self._locomo_only = locomo_only
        self._max_text_bytes = settings.max_text_bytes
        self._max_metadata_bytes = settings.max_payload_bytes
        self._seen: Counter[bytes] = Counter()

    def read_turns(self, line: int, value: Any) -> Iterator[Parsed]:
        """Yield the turns in one object of the file: one, or a whole conversation of LoCoMo's."""
        if not isinstance(value, dict):
            yield Problem(
                line=line, where="", reason=f"it is {_json_type(value)}, not an object with the fields of a turn."
            )
        elif locomo.is_conversation(value):
            for where, fields in locomo.read_turns(value):
                yield self._make_turn(line, where, fields)
        elif self._locomo_only:
            yield Problem(line=line, where=_describe_place(value), reason="it is no conversation of LoCoMo's.")
        else:
            yield self._make_turn(line, _describe_place(value), value)

    def _make_turn(self, line: int, where: str, fields: dict[str, Any]) -> Parsed:
        try:
            return self._check_fields(line, fields)
        except InvalidInput as error:
            return Problem(line=line, where=where, reason=error.message)

    def _check_fields(self, line: int, fields: dict[str, Any]) -> TranscriptTurn:
        is_named = self._agent_id is None or any(fields.get(name) is not None for name in ("agent", "agent_id"))
        agent = validate_name(_text_field(fields, "agent", "agent_id") if is_named else self._agent_id or "")
        session = validate_name(_text_field(fields, "session"), "session")
        speaker = _optional_text(fields, "speaker")
        turn = NewTurn(
            role=_optional_text(fields, "role") or "user",
            text=_text_field(fields, "text", "content"),
            at=_parse_time(fields.get("time", fields.get("timestamp"))),
            speaker=speaker,
        )
        validate_turn(turn, max_text_bytes=self._max_text_bytes)
        source = fields.get("id")
        if source is None:  # derived from the text, and from how often that came before
            said = (agent, session, turn.role, turn.speaker or "", turn.at.isoformat(), turn.text)
            parts = "\x1f".join(f"{len(part)}:{part}" for part in said)
            digest = hashlib.blake2b(parts.encode(), digest_size=16).digest()
            self._seen[digest] += 1
            source = f"~{digest.hex()}.{self._seen[digest]}"
        elif isinstance(source, bool) or not isinstance(source, str | int):
            raise InvalidInput(f"the field 'id' is {_json_type(source)}, not text or a whole number.")
        named = NewTurn(role=turn.role, text=turn.text, at=turn.at, speaker=speaker, source_id=str(source))
        return TranscriptTurn(
            line=line,
            agent_id=agent,
            session=session,
            turn=validate_turn(named, max_text_bytes=self._max_text_bytes),
            metadata=self._other_fields(fields),
        )

    def _other_fields(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Return the fields beside those of a turn, which are kept with it as metadata."""
        given = fields.get("metadata")
        if given is not None and not isinstance(given, dict):
            raise InvalidInput(f"the field 'metadata' is {_json_type(given)}, not an object.")
        metadata = {name: value for name, value in fields.items() if name not in _FIELDS} | (given or {})
        if (size := len(codec.dumps(metadata).encode(errors="replace"))) > self._max_metadata_bytes:
            raise TooLarge(f"the fields beside the turn have {size:,} bytes, allowed are {self._max_metadata_bytes:,}.")
        return metadata or None


def _iterate_items(file: BinaryIO, suffix: str, form: Form) -> Iterator[tuple[int, Any] | Problem]:
    """Return (line, value) of each object of the file."""
    if form == "jsonl" or (form == "auto" and suffix in LINE_SUFFIXES):
        return _iterate_lines(file)
    start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    if form == "auto" and not start.startswith((b"[", b"{")):
        return _iterate_lines(file)
    if start.startswith(b"["):
        return _iterate_elements(file)
    return _read_document(file, or_lines=form == "auto")


def _iterate_lines(file: BinaryIO) -> Iterator[tuple[int, Any] | Problem]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield Problem(line=number, where="", reason=f"the line is over {MAX_LINE_BYTES:,} bytes.")
        elif line.strip():
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip()
                yield number, json.loads(text, parse_float=Decimal)
            except (ValueError, RecursionError) as error:
                yield Problem(line=number, where="", reason=_describe_fault(error))


def _read_document(file: BinaryIO, *, or_lines: bool) -> Iterator[tuple[int, Any] | Problem]:
    try:
        value = json.loads(file.read().decode("utf-8-sig"), parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        if not or_lines:
            yield Problem(line=getattr(error, "lineno", 1), where="", reason=_describe_fault(error))
            return
        file.seek(0)
        yield from _iterate_lines(file)
    else:
        yield 1, value


def _iterate_elements(file: BinaryIO) -> Iterator[tuple[int, Any] | Problem]:
    """Yield the elements of a JSON array one by one, so that each has a line and those before a fault are taken."""
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Problem(line=1, where="", reason=_describe_fault(error))
        return
    decoder = json.JSONDecoder(parse_float=Decimal)
    position, line, counted = text.index("[") + 1, 1, 0
    while True:
        position = _skip_space(text, position)
        line += text.count("\n", counted, position)
        counted = position
        if text[position : position + 1] == "]":
            return
        try:
            value, position = decoder.raw_decode(text, position)
            position = _skip_space(text, position)
            if text[position : position + 1] not in {",", "]"}:
                raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
            position += text[position] == ","
        except (ValueError, RecursionError) as error:
            yield Problem(line=line, where="", reason=f"{_describe_fault(error)} What comes after it was not read.")
            return
        yield line, value


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1] in {" ", "\t", "\r", "\n"}:
        position += 1
    return position


def _describe_fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON: {error.msg} at column {error.colno}."
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: byte {error.start} cannot be read."
    return "it is not valid JSON: too deep, or a number is too long."


def _text_field(fields: dict[str, Any], *names: str) -> str:
    for name in names:
        if name in fields:
            value = fields[name]
            if not isinstance(value, str):
                raise InvalidInput(f"the field {name!r} is {_json_type(value)}, not text.")
            return value
    raise InvalidInput(f"the field {names[0]!r} is missing.")


def _optional_text(fields: dict[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _text_field(fields, name)


def _parse_time(value: Any) -> datetime:
    """Parse a time in ISO 8601 (UTC without an offset), or in seconds since 1970."""
    if value is None:
        raise InvalidInput("the field 'time' is missing.")
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return datetime.fromtimestamp(float(value), tz=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise InvalidInput(
        f"the time {str(value)[:40]!r} cannot be read; write 2026-11-22T10:30:00Z or seconds since 1970."
    )


def _describe_place(fields: dict[str, Any]) -> str:
    named = [f"{name} {str(fields[name])[:40]}" for name in ("agent", "session", "id") if name in fields]
    return ", ".join(named)


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
