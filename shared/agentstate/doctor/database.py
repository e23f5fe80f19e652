"""Checks of the durable store: availability, encoding, durability, schema, rights, the ledger's months, and clocks.

Leases use the database's clock, limits that of Redis, logs and cached states this machine's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.doctor.finding import Finding, fail_finding, ok_finding, warn_finding
from agentstate.doctor.system import System
from agentstate.errors import AgentStateError
from agentstate.store.engine import database_of
from agentstate.store.grants import unbound_role
from agentstate.store.migrate import current_revision, is_known_revision, newest_revision
from agentstate.store.partitions import describe_partitions
from agentstate.store.postgres import is_pooled
from agentstate.store.tables.base import db_time

OLDEST_POSTGRES = 14
OLDEST_SQLITE = (3, 35)
"""RETURNING came with SQLite 3.35."""

MOST_SKEW_S = 1.0
"""Largest difference that is ok, in seconds."""

_UP = "Start the database, and check AGENTSTATE_DATABASE_URL. `make up` starts one on this machine."
_SQLITE_FULL = 2
_CLOCK_REMEDY = "Synchronise both machines with a time server (NTP); until then times in logs and reports disagree."


def check_database(system: System) -> Finding:
    """Check that the store answers, in a supported version, and accepts writes."""
    try:
        with system.connect_store() as connection:
            is_server = database_of(connection).is_server
            return _check_postgres(connection) if is_server else _check_sqlite(connection)
    except AgentStateError as error:
        return fail_finding(error.message, _UP)


def _check_postgres(connection: Connection) -> Finding:
    version = _read_setting(connection, "server_version")
    if int(_read_setting(connection, "server_version_num")) < OLDEST_POSTGRES * 10_000:
        return fail_finding(f"PostgreSQL {version}", f"Use PostgreSQL {OLDEST_POSTGRES} or newer.")
    if connection.execute(sa.text("SELECT pg_is_in_recovery()")).scalar_one():
        return fail_finding(
            f"PostgreSQL {version}, a standby that takes no writes", "Name the primary server in the URL."
        )
    between = ", behind a pooler: nothing is prepared, time-outs are set in each transaction"
    return ok_finding(f"PostgreSQL {version}{between if is_pooled(connection) else ''}")


def _check_sqlite(connection: Connection) -> Finding:
    version = str(connection.execute(sa.text("SELECT sqlite_version()")).scalar_one())
    connection.execute(sa.text("SELECT count(*) FROM sqlite_master"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SQLITE:
        return fail_finding(f"SQLite {version}", "Use a Python with SQLite 3.35 or newer.")
    return ok_finding(f"SQLite {version}, for one machine")


def check_encoding(system: System) -> Finding:
    """Check that text of any language can be stored."""
    with system.connect_store() as connection:
        postgres = database_of(connection).is_server
        found = _read_setting(connection, "server_encoding") if postgres else _read_pragma(connection, "encoding")
    if found in {"UTF8", "UTF-8"}:
        return ok_finding(found)
    remedy = "Make the database anew in UTF-8: CREATE DATABASE agentstate ENCODING 'UTF8' TEMPLATE template0."
    return fail_finding(f"{found}: text may not come back as it was stored", remedy)


def check_durability(system: System) -> Finding:
    """Check that "committed" means "on disk"."""
    with system.connect_store() as connection:
        if database_of(connection).is_server:
            read = {
                name: _read_setting(connection, name) for name in ("fsync", "synchronous_commit", "full_page_writes")
            }
            found = ", ".join(f"{name}={value}" for name, value in read.items())
            if "off" in (read["fsync"], read["synchronous_commit"]):
                return fail_finding(
                    found, "Set fsync=on and synchronous_commit=on: else a power cut takes back acknowledged commits."
                )
            if read["full_page_writes"] == "off":
                return warn_finding(found, "Set full_page_writes=on, unless the file system never writes half a page.")
            return ok_finding(found)
        journal, level = _read_pragma(connection, "journal_mode"), int(_read_pragma(connection, "synchronous"))
        found = f"journal_mode={journal}, synchronous={level}"
        if level < _SQLITE_FULL:
            return fail_finding(found, "Open the file through agentstate, which sets synchronous=FULL.")
        if journal != "wal":
            return warn_finding(
                found, "Put the file on a local disk: without the write-ahead log readers block writers."
            )
        return ok_finding(found)


def check_schema(system: System) -> Finding:
    """Check that the schema is at this version's revision."""
    found, wanted = current_revision(system.store), newest_revision()
    if found == wanted:
        return ok_finding(f"revision {found}")
    told = f"revision {found or 'none'}, this version needs {wanted}"
    if found is not None and not is_known_revision(found):
        return fail_finding(told, "A newer version made it: update agentstate here, or name the right database.")
    return fail_finding(told, "Run `agentstate migrate`.")


def check_rights(system: System) -> Finding:
    """Report whether the database enforces the ledger's rules on the application too; ok either way."""
    with system.connect_store() as connection:
        if not database_of(connection).is_server:
            return ok_finding("whoever can write the file can write all of it; triggers keep our code to the rules")
        owner = unbound_role(connection)
    if owner is None:
        return ok_finding("a role of its own, that cannot change or remove entries of the ledger")
    return ok_finding(
        f"{owner} owns the tables, so triggers alone keep the ledger append-only; "
        "`agentstate migrate --app-role NAME` makes ready a role that cannot take them off"
    )


def check_ledger_months(system: System) -> Finding:
    """Check that the ledger's next month exists, and that every entry is in the table of its month."""
    with system.connect_store() as connection:
        found = describe_partitions(connection)
    if found is None:
        return ok_finding("one table")
    if not found.next_is_made:
        return warn_finding("next month's table is not made", "Start beat and workers, which make months ahead.")
    if found.others:
        return warn_finding(
            f"{found.others:,} entries lie in no month of their own",
            "Nothing is lost. Keep beat and workers running, so that months are made before they begin.",
        )
    return ok_finding(f"{len(found.parts) - 1} months made")


def _read_setting(connection: Connection, name: str) -> str:
    return str(connection.execute(sa.text("SELECT current_setting(:name)"), {"name": name}).scalar_one())


def _read_pragma(connection: Connection, name: str) -> str:
    return str(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())


def check_database_clock(system: System) -> Finding:
    """Compare this machine's clock with the database's."""

    def read() -> datetime:
        with system.connect_store() as connection:
            moment: datetime = connection.execute(sa.select(db_time())).scalar_one()
            return moment

    read()  # the first answer pays for the connection
    return _compare_clocks(system, read)


def check_redis_clock(system: System) -> Finding:
    """Compare this machine's clock with that of Redis."""
    with system.connect_redis(system.settings.redis_url) as client:

        def read() -> datetime:
            seconds, microseconds = client.time()
            return datetime.fromtimestamp(int(seconds) + int(microseconds) / 1e6, UTC)

        read()
        return _compare_clocks(system, read)


def _compare_clocks(system: System, read: Callable[[], datetime]) -> Finding:
    before = system.clock()
    there = read()
    after = system.clock()
    # The answer was made at some time between; only what exceeds that uncertainty is a difference.
    behind, ahead = (before - there).total_seconds(), (there - after).total_seconds()
    difference = max(behind, ahead, 0.0)
    if difference > MOST_SKEW_S:
        return warn_finding(f"{difference:.1f} s {'behind' if behind > 0 else 'ahead of'} this machine", _CLOCK_REMEDY)
    return ok_finding(f"within {max(difference, 0.1):.1f} s of this machine")
