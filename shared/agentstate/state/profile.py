"""An agent's profile: named fields that change often and are read oftener.

The durable store is the truth and Redis holds a copy, so that an emptied Redis loses nothing. Every write gives the
field a new version; a writer may state the version that it has seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from agentstate.errors import Conflict, InvalidInput, TooLarge
from agentstate.ids import validate_name
from agentstate.state import codec
from agentstate.state.profile_cache import ProfileCache, Stored
from agentstate.state.secrecy import refuse_secrets
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.state import profile_fields as table
from agentstate.store.upsert import insert_new

MAX_FIELDS = 1_000
"""Fields of one profile."""
SESSIONS = "session_count"
"""The counter of `increment_session`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class ProfileField:
    """A field's value, its version, and when it goes (None: it stays)."""

    value: Any
    version: int
    expires_at: datetime | None


class ProfileSnapshot(dict[str, Any]):
    """The values by field as they were at one moment; `unreadable` names those that this version cannot read."""

    def __init__(self, values: Mapping[str, Any], unreadable: Mapping[str, str]) -> None:
        super().__init__(values)
        self.unreadable = dict(unreadable)


class AgentProfile:
    """The profile of one agent. Safe to share between threads and processes."""

    def __init__(self, store: Store, cache: ProfileCache, agent_id: str, *, max_bytes: int = 65_536) -> None:
        self.agent_id = validate_name(agent_id)
        self._store, self._cache, self._max_bytes = store, cache, max_bytes

    def set_field(
        self,
        field: str,
        value: Any,
        *,
        ttl_s: float | None = None,
        version: int | None = None,
        tx: Transaction | None = None,
    ) -> int:
        """Set a field; durable at return, or when `tx` commits.

        Args:
            field: its name.
            value: what exact JSON can hold, None included.
            ttl_s: seconds until the field goes by itself; left out, it stays.
            version: the version that you have seen, 0 for a field that is not there; left out, whatever is there is
                replaced.
            tx: the caller's transaction.

        Returns:
            The field's new version.

        Raises:
            Conflict: the field has another version. InvalidInput: the name or value is refused, or looks like a
            secret. TooLarge: the value, or the number of fields, is over the limit. Nothing was changed.
        """
        body = self._encode_value(field, value)
        expires = _check_ttl(ttl_s)
        with self._write_transaction(tx) as opened:
            return self._write_field(opened, field, body, expires, seen=version)

    def set_fields(
        self, values: Mapping[str, Any], *, ttl_s: float | None = None, tx: Transaction | None = None
    ) -> None:
        """Set several fields, all or none; raises as `set_field`."""
        bodies = {field: self._encode_value(field, values[field]) for field in sorted(values)}
        expires = _check_ttl(ttl_s)
        with self._write_transaction(tx) as opened:
            for field, body in bodies.items():  # in one order everywhere: no two writers wait for each other
                self._write_field(opened, field, body, expires, seen=None)

    def get_field(self, field: str, default: Any = None) -> Any:
        """A field's value; `default` when it is not there. Raises InvalidInput when this version cannot read it."""
        found = self.find_field(field)
        return default if found is None else found.value

    def find_field(self, field: str) -> ProfileField | None:
        """A field with its version and expiry; None when it is not there."""
        stored = self._read_fields(validate_name(field, "field")).get(field)
        if stored is None:
            return None
        expires = _EPOCH + stored.expires_ms * _MILLISECOND if stored.expires_ms else None
        return ProfileField(codec.loads(stored.body), stored.version, expires)

    def snapshot(self) -> ProfileSnapshot:
        """All fields as they were at one moment. One that cannot be read spoils no other."""
        values, unreadable = {}, {}
        for field, stored in sorted(self._read_fields().items()):
            try:
                values[field] = codec.loads(stored.body)
            except InvalidInput as error:
                unreadable[field] = error.message
        return ProfileSnapshot(values, unreadable)

    def increment(self, field: str, by: int = 1, *, tx: Transaction | None = None) -> int:
        """Add to a counter, which begins at 0, and return it; no increment of any process is lost.

        Raises:
            InvalidInput: `by` or what the field holds is no whole number. Nothing was changed.
        """
        validate_name(field, "field")
        _check_whole(by, "the increment")
        with self._write_transaction(tx) as opened:
            row = self._lock_field(opened, field)
            current = 0 if row.value is None else codec.loads(row.value)
            total = _check_whole(current, f"the field {field}") + by
            self._put_value(opened, field, self._encode_value(field, total), row.expires_at, row.version + 1)
            return total

    def increment_session(self) -> int:
        """Count a session; how many there are."""
        return self.increment(SESSIONS)

    def delete_field(self, field: str, *, version: int | None = None, tx: Transaction | None = None) -> bool:
        """Remove a field; whether it was there. Raises Conflict when `version` is given and is not the field's."""
        validate_name(field, "field")
        with self._write_transaction(tx) as opened:
            row = self._lock_field(opened, field)
            _check_version(field, row, version)
            if row.value is None:
                return False
            self._put_value(opened, field, None, None, row.version + 1)
            return True

    def _read_fields(self, field: str | None = None) -> dict[str, Stored]:
        look = self._cache.read_copy(field)
        if look.fields is not None:
            return look.fields
        stored = self._load_fields()
        if look.generation is not None:
            self._cache.fill_copy(look.generation, stored)
        return stored

    def _load_fields(self) -> dict[str, Stored]:
        alive = (
            table.c.agent_id == self.agent_id,
            table.c.value.is_not(None),
            sa.or_(table.c.expires_at.is_(None), table.c.expires_at > statement_time()),
        )
        with self._store.read_connection() as connection:
            rows = connection.execute(sa.select(table).where(*alive)).all()
        found = {}
        for row in rows:
            expires_ms = 0 if row.expires_at is None else (row.expires_at - _EPOCH) // _MILLISECOND
            found[row.field] = Stored(row.value, row.version, expires_ms)
        return found

    @contextmanager
    def _write_transaction(self, tx: Transaction | None) -> Iterator[Transaction]:
        """A write transaction, own or joined, before and after which the copy is cleared."""
        with self._store.transaction(tx) as opened:
            token = self._cache.begin_write()
            opened.after_commit(lambda: self._cache.end_write(token))
            yield opened

    def _write_field(self, tx: Transaction, field: str, body: str, ttl_s: float | None, *, seen: int | None) -> int:
        row = self._lock_field(tx, field)
        _check_version(field, row, seen)
        if row.value is None:
            count = sa.select(sa.func.count()).where(table.c.agent_id == self.agent_id, table.c.value.is_not(None))
            if tx.connection.execute(count).scalar_one() >= MAX_FIELDS:
                raise TooLarge(
                    f"the profile of {self.agent_id} has {MAX_FIELDS:,} fields, which is the limit. Nothing was "
                    "changed; remove some, or keep them as state."
                )
        expires = None if ttl_s is None else tx.now() + timedelta(seconds=ttl_s)
        self._put_value(tx, field, body, expires, row.version + 1)
        return int(row.version) + 1

    def _lock_field(self, tx: Transaction, field: str) -> sa.Row[Any, Any, Any]:
        """The field's row, held until the transaction ends; its value is None when it is removed or past its time."""
        insert_new(tx, table, [{"agent_id": self.agent_id, "field": field, "version": 0, "updated_at": tx.now()}])
        value = sa.case((table.c.expires_at <= statement_time(), None), else_=table.c.value).label("value")
        mine = (table.c.agent_id == self.agent_id, table.c.field == field)
        return tx.connection.execute(
            sa.select(value, table.c.version, table.c.expires_at).where(*mine).with_for_update()
        ).one()

    def _put_value(self, tx: Transaction, field: str, body: str | None, expires: datetime | None, version: int) -> None:
        mine = (table.c.agent_id == self.agent_id, table.c.field == field)
        values = {"value": body, "version": version, "expires_at": expires, "updated_at": db_time()}
        tx.connection.execute(table.update().where(*mine).values(values))

    def _encode_value(self, field: str, value: Any) -> str:
        where = f"the profile's field {validate_name(field, 'field')}"
        refuse_secrets({field: value}, where)
        body = codec.dumps(value)
        if (size := len(body.encode())) > self._max_bytes:
            raise TooLarge(f"{where} has {size:,} bytes, over the limit of {self._max_bytes:,}. Nothing was changed.")
        return body


def _check_version(field: str, row: sa.Row[Any, Any, Any], seen: int | None) -> None:
    present = 0 if row.value is None else row.version
    if seen is not None and seen != present:
        raise Conflict(
            f"the field {field} has version {present}, not {seen}: somebody wrote it since. Nothing was changed; read "
            "it and decide again."
        )


def _check_ttl(ttl_s: float | None) -> float | None:
    if ttl_s is not None and not 0 < ttl_s <= 10 * 366 * 86_400:  # also refuses NaN
        raise InvalidInput(f"the time to live is {ttl_s} s; it must be over 0 and within ten years.")
    return ttl_s


def _check_whole(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{what} is {type(value).__name__}, not a whole number. Nothing was changed.")
    return value
