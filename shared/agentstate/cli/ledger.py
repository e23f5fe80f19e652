"""`agentstate ledger`: read the books, prove them, and carry them from one store to another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Moment, Verbs

if TYPE_CHECKING:
    from agentstate.money.audit.attest import Attestation
    from agentstate.money.audit.export import PortableTransaction
    from agentstate.money.ledger.ledger import TransactionLedger
    from agentstate.money.ledger.postings import AccountKey
    from agentstate.money.ledger.statement import StatementLine, StatementPage

FORMS = ("json", "csv")

_service = click.option("--service", help="Only this service.")
_bucket = click.option("--bucket", help="Only this bucket, such as available or in_flight.")
_currency = click.option("--currency", help="Only this currency.")


@click.group(cls=Verbs)
def ledger() -> None:
    """Read, prove and move the books of agents."""


@ledger.command()
@click.argument("agent")
@_service
@_bucket
@_currency
@click.option("--at", type=Moment(), help="As the balances were recorded at this time, with zone; unset: now.")
@pass_invocation
def balance(
    invocation: Invocation,
    *,
    agent: str,
    service: str | None,
    bucket: str | None,
    currency: str | None,
    at: datetime | None,
) -> None:
    """Show the balances of AGENT, one line for each account."""
    books = _ledger_of(invocation, agent)
    wanted = {"service": service, "bucket": bucket, "currency": currency}
    keys = [
        key
        for key in _accounts_of(invocation, agent)
        if all(value is None or getattr(key, name) == value for name, value in wanted.items())
    ]
    found = [(key, books.balance(key.service, key.currency, bucket=key.bucket, as_of=at)) for key in keys]
    if invocation.as_json:
        output.print_document(
            {
                "agent": agent,
                "at": at,
                "balances": [
                    {
                        "service": key.service,
                        "bucket": key.bucket,
                        "currency": key.currency,
                        "balance": f"{money.amount:f}",
                    }
                    for key, money in found
                ],
            }
        )
    elif found:
        rows = [(key.service, key.bucket, str(money)) for key, money in found]
        output.print_table(("service", "bucket", "balance"), rows)
    else:
        output.print_line(f"{agent} has no such account")


@ledger.command()
@click.argument("agent")
@_service
@_bucket
@_currency
@click.option("--after", metavar="PLACE", help="Go on behind this place, which the page before ended with.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True, help="Entries at most.")
@pass_invocation
def statement(
    invocation: Invocation,
    *,
    agent: str,
    service: str | None,
    bucket: str | None,
    currency: str | None,
    after: str | None,
    limit: int,
) -> None:
    """Show the entries of AGENT, account by account, each with the balance after it."""
    from agentstate.money.ledger.statement import Cursor

    books = _ledger_of(invocation, agent)
    place = None if after is None else Cursor.parse(after)
    page = books.statement(service, bucket=bucket, currency=currency, after=place, limit=limit)
    if invocation.as_json:
        output.print_document(
            {"agent": agent, "entries": [_line_document(line) for line in page.lines], "next": page.next}
        )
    else:
        _show_statement(agent, page)


@ledger.command()
@click.option("--whole", is_flag=True, help="Recompute every account from its first entry, not from the last attested.")
@pass_invocation
@click.pass_context
def attest(context: click.Context, invocation: Invocation, *, whole: bool) -> None:
    """Recompute the ledger of all agents and fold it into one root.

    Exit code 0 when everything is as it was posted; 1 when something is not, which is named by account and entry and
    opens a break. The root may be kept elsewhere, to prove later that history was not rewritten.
    """
    from agentstate.money.audit.attest import Attestor

    attestation = Attestor(invocation.runtime.store).run(whole=whole)
    if invocation.as_json:
        output.print_document(_attestation_document(attestation))
    else:
        _show_attestation(attestation)
    context.exit(0 if attestation.is_sound else 1)


@ledger.command("export")
@click.argument("agent")
@click.option("--format", "form", type=click.Choice(FORMS), default="json", show_default=True, help="Form of the text.")
@click.option("--output", "target", type=click.Path(dir_okay=False, path_type=Path), help="File; unset: printed.")
@pass_invocation
def export_command(invocation: Invocation, *, agent: str, form: str, target: Path | None) -> None:
    """Write all transactions of AGENT with their entries, as they stand at one moment."""
    from agentstate.money.audit.export import WRITERS, export_ledger

    if invocation.as_json and target is None and form != "json":
        raise click.UsageError("--json prints JSON; leave out --format, or write to a file with --output.")
    count = [0]
    pieces = WRITERS[form](_counting(export_ledger(invocation.runtime.store, agent), count))
    if target is None:
        for piece in pieces:
            click.echo(piece, nl=False)
        return
    with target.open("w", encoding="utf-8", newline="") as file:
        file.writelines(pieces)
    if invocation.as_json:
        output.print_document({"agent": agent, "file": target, "transactions": count[0]})
    else:
        output.print_line(f"{target}: {output.count_noun(count[0], 'transaction')}")


@ledger.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMS), help="Form of the file; unset: by its name.")
@pass_invocation
def import_command(invocation: Invocation, *, file: Path, form: str | None) -> None:
    """Post the transactions of FILE here, each once, under the key that it has.

    Nothing is posted when anything in it does not balance. What is here already stays as it is, so an import that was
    interrupted is run again.
    """
    from agentstate.money.audit.export import import_ledger, read_form

    chosen = form or file.suffix.lstrip(".").lower()
    if chosen not in FORMS:
        raise click.UsageError(f"the name of {file.name} does not tell its form; give --format json or --format csv.")
    report = import_ledger(invocation.runtime.store, partial(read_form, file, chosen))
    if invocation.as_json:
        output.print_document({"file": file, **asdict(report)})
    else:
        output.print_line(
            f"{file}: {output.count_noun(report.posted, 'transaction')} posted, {report.already:,} there already"
        )


def _ledger_of(invocation: Invocation, agent: str) -> TransactionLedger:
    from agentstate.money.ledger.ledger import TransactionLedger

    return TransactionLedger(invocation.runtime.store, agent)


def _accounts_of(invocation: Invocation, agent: str) -> list[AccountKey]:
    from agentstate.money.reconciliation.books_snapshot import read_balances

    with invocation.runtime.store.read_connection() as connection:
        return sorted(read_balances(connection, [agent])[agent])


def _line_document(line: StatementLine) -> dict[str, Any]:
    fields = {name: getattr(line, name) for name in line.__dataclass_fields__}
    amounts = {name: f"{fields[name].amount:f}" for name in ("amount", "balance")}
    return {**fields, **amounts, "currency": line.amount.currency}


def _show_statement(agent: str, page: StatementPage) -> None:
    if not page.lines:
        output.print_line(f"{agent} has no such entries")
        return
    headers = ("account", "no.", "recorded", "kind", "amount", "balance", "key")
    output.print_table(headers, [_statement_row(line) for line in page.lines])
    if page.next is not None:
        output.print_note(f"more: --after {page.next}")


def _statement_row(line: StatementLine) -> tuple[Any, ...]:
    account = f"{line.service}/{line.bucket}"
    return account, line.seq, line.recorded_at, line.kind, str(line.amount), str(line.balance), line.key


def _attestation_document(attestation: Attestation) -> dict[str, Any]:
    hashes = {"root": attestation.root.hex(), "seal": attestation.seal.hex()}
    return {**asdict(attestation), **hashes, "sound": attestation.is_sound}


def _show_attestation(attestation: Attestation) -> None:
    seen = f"{output.count_noun(attestation.accounts, 'account')}, {attestation.entries:,} entries recomputed"
    output.print_line(f"attestation {attestation.number}: {seen}")
    output.print_line(f"root {attestation.root.hex()}")
    if attestation.is_sound:
        return
    output.print_note(f"error: the ledger is damaged in {output.count_noun(len(attestation.damages), 'place')}")
    for damage in attestation.damages:
        where = f"{damage.agent_id} {damage.service}/{damage.bucket} {damage.currency}"
        output.print_note(f"{where}, entry {'-' if damage.seq is None else damage.seq}: {damage.reason}")


def _counting(transactions: Iterable[PortableTransaction], count: list[int]) -> Iterable[PortableTransaction]:
    for transaction in transactions:
        count[0] += 1
        yield transaction
