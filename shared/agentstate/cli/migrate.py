"""`agentstate migrate`: bring the durable store to this version's schema."""

from __future__ import annotations

from pathlib import Path

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verb


@click.command(cls=Verb)
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 when the schema is not the newest.")
@click.option("--app-role", metavar="NAME", help="Also give this Postgres role the rights of the application.")
@click.option(
    "--app-url-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The same for the role in the address that this file holds; it is made when it is not there.",
)
@pass_invocation
@click.pass_context
def migrate(
    context: click.Context, invocation: Invocation, *, check: bool, app_role: str | None, app_url_file: Path | None
) -> None:
    """Bring the durable store to the newest schema revision.

    Safe to run again and from several places at once; what is done is left alone. Accepted facts are never removed.

    With --app-role, run as the owner of the tables: the role that the application will connect as may then work with
    all of them, but neither change nor remove what is in the ledger. It keeps its rights at later migrations.
    --app-url-file needs no role to be there: it is named, with its password, by the AGENTSTATE_DATABASE_URL that the
    application will use.
    """
    from agentstate.store.migrate import newest_revision, upgrade_schema

    if sum(map(bool, (check, app_role, app_url_file))) > 1:
        raise click.UsageError("--check changes nothing, --app-role and --app-url-file do; give one of the three.")
    before, newest = _current_revision(invocation), newest_revision()
    if not check and before != newest:
        upgrade_schema(invocation.settings.database_url)
    bound = _grant_role(invocation, app_role, app_url_file)
    after = before if check else newest
    if invocation.as_json:
        output.print_document({"from": before, "to": after, "newest": newest, "up_to_date": after == newest})
    else:
        _print_result(before, newest, check=check)
        if bound:
            output.print_line(f"{bound} may work with the tables, and neither change nor remove what is in the ledger")
    context.exit(0 if after == newest else 1)


def _grant_role(invocation: Invocation, app_role: str | None, app_url_file: Path | None) -> str | None:
    """Give the application's role its rights; its name, None when none was named."""
    from agentstate.store.migrate import grant_role, grant_role_of_url

    if app_url_file:
        return grant_role_of_url(invocation.settings.database_url, app_url_file.read_text("utf-8").strip())
    if app_role:
        grant_role(invocation.settings.database_url, app_role)
    return app_role


def _current_revision(invocation: Invocation) -> str | None:
    from agentstate.store import Store
    from agentstate.store.migrate import current_revision

    store = Store.open(invocation.settings.database_url, pool_size=1)
    try:
        return current_revision(store)
    finally:
        store.close()


def _print_result(before: str | None, newest: str, *, check: bool) -> None:
    if before == newest:
        output.print_line(f"the schema is at revision {newest}, the newest; there is nothing to do")
    elif check:
        output.print_line(
            f"the schema is at revision {before or 'none'}, the newest is {newest}; run `agentstate migrate`"
        )
    else:
        output.print_line(f"migrated the schema from revision {before or 'none'} to {newest}")
