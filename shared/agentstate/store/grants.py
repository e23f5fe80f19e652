"""The rights of the role that the application connects as, where another role owns the tables.

The triggers keep code from rewriting history, but a table's owner can drop triggers. So the tables belong to the role
that migrates, and the application's role may add to what is append-only and read it, and nothing else. Forgetting an
agent's episodes is a function of the owner, which takes all of them and leaves a tombstone.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from agentstate.errors import AgentStateError, ConfigurationError, StoreUnavailable
from agentstate.store.engine import database_of
from agentstate.store.store import Store, Transaction

APPEND_ONLY = (
    "entries", "ledger_transactions", "effect_evidence", "account_snapshots", "attestations", "agent_state_versions",
    "episodes", "episode_tombstones",
)  # fmt: skip
"""Tables whose rows are never changed and never removed, but for the episodes of an agent that is forgotten."""

_READ_ONLY = ("alembic_version", "episode_tombstones")
_UPDATED_COLUMNS = {
    "accounts": "balance, version, head, touched_at",
    "currencies": "",
    "effects": "state, attempt, fence, lease_owner, lease_until, params, baseline, serial_key, outcome, "
    "verify_attempts, next_verify_at, note, called_at, resolved_at, expired_at",
    "breaks": "amount, state, evidence, resolution, sightings, seen_at, resolved_at",
    "freezes": "lifted_by, lifted_at",
}
"""The columns that the role may change, of tables of which it deletes no row; triggers say how they may change."""

# What the role may do with the owner's rights: make a month, remove all episodes of one agent with a tombstone, and
# delete freezes that were lifted long ago.
_FUNCTIONS = (
    "agentstate_add_entries_month(timestamptz)",
    "agentstate_forget_episodes(text)",
    "agentstate_delete_old_freezes(integer)",
)
# Without the months: what is asked of the whole table needs no right on its parts, and nobody else may name them.
_TABLES = sa.text(
    "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
    "AND relkind IN ('r', 'p') AND NOT relispartition AND relowner = (SELECT oid FROM pg_roles WHERE "
    "rolname = current_user) ORDER BY relname"
)
_SEQUENCES = sa.text(
    "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'S'"
)
_OWNER = sa.text("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('entries')")
_GRANTED = sa.text(
    "SELECT DISTINCT pg_get_userbyid(grantee) FROM pg_class, aclexplode(relacl) WHERE oid = to_regclass('entries') "
    "AND privilege_type = 'INSERT' AND grantee <> relowner AND grantee <> 0"
)


def grant_rights(store: Store, role: str) -> None:
    """Grant `role` the rights of the application and revoke all others. Run as the tables' owner.

    Raises:
        ConfigurationError: the store is SQLite, the role is not there, or it could do as it likes anyway.
    """
    if not store.database.is_server:
        raise ConfigurationError("SQLite has no roles: whoever can write the file can write all of it. Use Postgres.")
    with store.transaction() as tx:
        _require_unprivileged(tx.connection, role)
        _grant_tables(tx, role)


def create_role(store: Store, application_url: str) -> str:
    """Make the role of `application_url`, with its password, unless one can connect by it already; the role's name.

    Raises:
        ConfigurationError: the store is SQLite, the address names no role with a password, or we may make none.
    """
    if not store.database.is_server:
        raise ConfigurationError("SQLite has no roles: whoever can write the file can write all of it. Use Postgres.")
    role, password = _parse_role(application_url)
    if not _can_connect(application_url):
        try:
            with store.transaction() as tx:
                _create_login(tx.connection, role, password)
        except (DBAPIError, StoreUnavailable) as error:
            raise ConfigurationError(
                f"the role {role!r} of the application could not be made or given its password: {error}. Make it "
                "as a superuser: CREATE ROLE name LOGIN PASSWORD '...'. Nothing was changed."
            ) from None
    return role


def grant_new_tables(tx: Transaction) -> None:
    """Give the roles that `grant` was called for the rights on tables that are new."""
    if unbound_role(tx.connection) is not None:
        for (role,) in tx.connection.execute(_GRANTED).all():
            _grant_tables(tx, role)


def unbound_role(connection: Connection) -> str | None:
    """The role that this connection has, when the ledger's tables do not bind it: it owns them or is a superuser."""
    if not database_of(connection).is_server:
        return None
    user, above = connection.execute(
        sa.text("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
    ).one()
    owner = connection.execute(_OWNER).scalar_one_or_none()
    return str(user) if above or user == owner else None


def _parse_role(application_url: str) -> tuple[str, str]:
    try:
        url = make_url(application_url)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql" or not url.username or not url.password:
        raise ConfigurationError(
            "the application's address is not one of Postgres with a role and its password: "
            "postgresql://role:password@host:5432/database. Nothing was changed."  # pragma: allowlist secret
        )
    return url.username, str(url.password)


def _can_connect(url: str) -> bool:
    store = Store.open(url, pool_size=1)
    try:
        with store.read_connection() as connection:
            connection.execute(sa.text("SELECT 1"))
    except AgentStateError:
        return False
    finally:
        store.close()
    return True


def _create_login(connection: Connection, role: str, password: str) -> None:
    is_there = connection.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first()
    if is_there:
        _require_unprivileged(connection, role)
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 it is open
    # What can be checked against the password goes over the wire and into the server's log, and not the password.
    verifier = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    name = connection.execute(sa.text("SELECT quote_ident(:role)"), {"role": role}).scalar_one()
    verb = "ALTER" if is_there else "CREATE"
    connection.exec_driver_sql(f"{verb} ROLE {name} LOGIN PASSWORD '{verifier}'")


def _require_unprivileged(connection: Connection, role: str) -> None:
    found = connection.execute(
        sa.text(
            "SELECT rolsuper, pg_has_role(rolname, current_user, 'MEMBER') AS ours FROM pg_roles WHERE rolname = :role"
        ),
        {"role": role},
    ).one_or_none()
    if found is None:
        raise ConfigurationError(
            f"there is no role {role!r}; make it first: CREATE ROLE name LOGIN PASSWORD '...'. Nothing was granted."
        )
    if found.rolsuper or found.ours:
        raise ConfigurationError(
            f"{role!r} is a superuser, or the owner of the tables or a member of it, whom no grant binds. Name another "
            "role; nothing was granted."
        )


def _grant_tables(tx: Transaction, role: str) -> None:
    run = tx.connection.exec_driver_sql
    name = tx.connection.execute(sa.text("SELECT quote_ident(:role)"), {"role": role}).scalar_one()
    schema = tx.connection.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    run(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    for (table,) in tx.connection.execute(_TABLES).all():
        run(f"REVOKE ALL ON {table} FROM {name}")
        rights = "SELECT, INSERT" if table in APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
        if table in _UPDATED_COLUMNS:
            columns = _UPDATED_COLUMNS[table]
            rights = f"SELECT, INSERT, UPDATE ({columns})" if columns else "SELECT, INSERT"
        run(f"GRANT {'SELECT' if table in _READ_ONLY else rights} ON {table} TO {name}")
    for (sequence,) in tx.connection.execute(_SEQUENCES).all():
        run(f"GRANT USAGE ON SEQUENCE {sequence} TO {name}")
    for function in _FUNCTIONS:
        run(f"GRANT EXECUTE ON FUNCTION {function} TO {name}")
