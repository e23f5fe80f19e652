"""Schema migrations: bring a store to this version's revision, and tell where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import SchemaOutdated
from agentstate.store import grants
from agentstate.store.store import Store

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"
# Any constant: two migrators at once wait for each other on it.
_MIGRATION_LOCK = 0x61676E74


def upgrade_schema(database_url: str) -> str:
    """Bring the database at `database_url` to the newest revision and return its name.

    Safe to run from several processes at once, and again: what is done is left alone. Roles that were given the
    application's rights have them on new tables too.

    Raises:
        SchemaOutdated: a newer version of agentstate has been here; nothing was changed.
    """
    # Only here: loading Alembic takes longer than most commands, which all ask for the revision.
    from alembic import command

    store = Store.open(database_url)
    try:
        with store.transaction() as tx:
            tx.database.lock_key(tx.connection, _MIGRATION_LOCK)
            _require_known(tx.connection)
            config = _alembic_config()
            config.attributes["connection"] = tx.connection
            command.upgrade(config, "head")
            grants.grant_new_tables(tx)
        return newest_revision()
    finally:
        store.close()


def grant_role(database_url: str, role: str) -> None:
    """Give `role` the rights of the application in the migrated database at `database_url`; see `store.grants`."""
    store = Store.open(database_url, pool_size=1)
    try:
        grants.grant_rights(store, role)
    finally:
        store.close()


def grant_role_of_url(database_url: str, application_url: str) -> str:
    """Make the role that `application_url` names, and give it the rights of the application; the role's name."""
    store = Store.open(database_url, pool_size=1)
    try:
        role = grants.create_role(store, application_url)
        grants.grant_rights(store, role)
    finally:
        store.close()
    return role


def newest_revision() -> str:
    """Return the revision that this version of agentstate needs."""
    return max(_list_revisions())


def is_known_revision(revision: str) -> bool:
    """Return whether this version of agentstate has that revision; one that it lacks was made by a newer version."""
    return revision in _list_revisions()


def current_revision(store: Store) -> str | None:
    """Return the revision that `store` has, None when it has no schema yet."""
    with store.read_connection() as connection:
        return _read_revision(connection)


def require_newest(store: Store) -> None:
    """Raise SchemaOutdated unless `store` is at the newest revision."""
    found, wanted = current_revision(store), newest_revision()
    if found == wanted:
        return
    where = f"the durable store is at schema revision {found or 'none'}, this version needs {wanted}"
    if found is None or is_known_revision(found):
        raise SchemaOutdated(f"{where}. Run `agentstate migrate`: the store is older. Nothing was changed.")
    raise SchemaOutdated(f"{where}. Update agentstate: the store is newer. Nothing was changed.")


def _require_known(connection: Connection) -> None:
    found = _read_revision(connection)
    if found is not None and not is_known_revision(found):
        raise SchemaOutdated(
            f"the durable store is at schema revision {found}, which this version does not know (its newest is "
            f"{newest_revision()}): a newer version has been here, or one before 0.2.0, whose databases cannot be "
            "carried over. Update agentstate, or name another database; nothing was changed."
        )


def _list_revisions() -> list[str]:
    # A revision is called as its file.
    return [path.stem for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")]


def _read_revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision


def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config
