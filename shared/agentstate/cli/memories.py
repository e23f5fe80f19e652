"""`agentstate remember` and `agentstate recall`: semantic memory from the command line."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Moment, Verb

if TYPE_CHECKING:
    from agentstate.memory.facts.records import MemoryRecord
    from agentstate.memory.facts.service import Receipt
    from agentstate.memory.search.hits import Hit


@click.command(cls=Verb)
@click.argument("agent")
@click.argument("text")
@click.option("--kind", default="fact", show_default=True, help="What it is: fact, lesson, strategy, or your own word.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Kept beside it and given back; repeatable.")
@click.option(
    "--subject", help="What it states something about: the newest about a subject holds, the older are history."
)
@click.option("--importance", type=click.IntRange(1, 10), default=5, show_default=True, help="How much it matters.")
@click.option("--at", type=Moment(), help="When it happened, with zone.")
@click.option("--valid-from", type=Moment(), help="Since when it holds; unset: since --at, or since now.")
@click.option("--valid-to", type=Moment(), help="Until when it holds; unset: for good.")
@click.option("--source", help="Where it comes from.")
@click.option("--namespace", help="Keep it in this namespace, which several agents share.")
@click.option("--wait", is_flag=True, help="Return when it is searchable.")
@click.option("--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds to wait at most.")
@pass_invocation
def remember(
    invocation: Invocation,
    /,
    *,
    agent: str,
    text: str,
    kind: str,
    metadata: tuple[str, ...],
    subject: str | None,
    importance: int,
    at: datetime | None,
    valid_from: datetime | None,
    valid_to: datetime | None,
    source: str | None,
    namespace: str | None,
    wait: bool,
    timeout: float,
) -> None:
    """Remember TEXT for AGENT.

    "-" reads the text from standard input. It is durable when the command returns, found by its words at once, and by
    its meaning soon after. The same text of the same kind and times is kept once, however often it is given.
    """
    memory = invocation.runtime.memory.of(agent)

    def store_text() -> Receipt:
        return memory.remember(
            content,
            kind,
            at=at,
            subject=subject,
            valid_from=valid_from,
            valid_to=valid_to,
            importance=importance,
            metadata=_parse_pairs(metadata) or None,
            source=source,
            namespace=namespace,
        )

    content = sys.stdin.read() if text == "-" else text
    receipt = store_text()
    if wait:
        memory.wait_searchable([receipt], timeout_s=timeout)
        receipt = replace(store_text(), outcome=receipt.outcome, supersedes=receipt.supersedes)
    if invocation.as_json:
        output.print_document(asdict(receipt))
    else:
        how = f"found by its {receipt.searchable}" if receipt.searchable else "not found by a search of now"
        output.print_line(f"{receipt.id} {receipt.outcome}, {how}")


@click.command(cls=Verb)
@click.argument("agent")
@click.argument("query")
@click.option("--limit", type=click.IntRange(1, 1_000), default=5, show_default=True, help="Memories at most.")
@click.option("--kind", multiple=True, help="Only memories of this kind; of several when repeated.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Only memories with this metadata; repeatable.")
@click.option("--session", help="Only from this session.")
@click.option("--since", type=Moment(), help="Only what happened, or was stored, at or after this time, with zone.")
@click.option("--until", type=Moment(), help="Only what did so before this time.")
@click.option("--as-of", type=Moment(), help="What was held for true at this time, by what was stored then.")
@click.option("--namespace", multiple=True, help="Also from this namespace, which several agents share; repeatable.")
@click.option("--neighbours", type=click.IntRange(0, 20), default=0, help="Turns to show before and after each turn.")
@click.option("--explain", is_flag=True, help="Tell how each memory was found and what made its score.")
@pass_invocation
def recall(
    invocation: Invocation,
    /,
    *,
    agent: str,
    query: str,
    limit: int,
    kind: tuple[str, ...],
    metadata: tuple[str, ...],
    session: str | None,
    since: datetime | None,
    until: datetime | None,
    as_of: datetime | None,
    namespace: tuple[str, ...],
    neighbours: int,
    explain: bool,
) -> None:
    """Show the memories of AGENT that answer QUERY.

    The best comes first.
    """
    found = invocation.runtime.memory.of(agent).recall(
        query,
        limit,
        kind=kind,
        session=session,
        since=since,
        until=until,
        as_of=as_of,
        where=_parse_pairs(metadata),
        neighbours=neighbours,
        namespaces=namespace,
    )
    if invocation.as_json:
        hits = [_hit_document(hit, explain=explain) for hit in found]
        output.print_document({"hits": hits, "retrievers": list(found.retrievers), "degraded": found.degraded})
        return
    if found.degraded:
        output.print_note(f"warning: {found.degraded}")
    if not found:
        output.print_line("nothing found")
        return
    width = output.width_left(42)
    rows: list[tuple[object, ...]] = []
    for hit in found:
        rows += [("", "before", turn.at, output.shorten_text(_quote(turn), width)) for turn in hit.before]
        rows.append((f"{hit.score:.3f}", hit.kind, hit.at, output.shorten_text(_quote(hit.record), width)))
        rows += [("", "after", turn.at, output.shorten_text(_quote(turn), width)) for turn in hit.after]
    output.print_table(("score", "kind", "at", "memory"), rows)
    if explain:
        output.print_table(("memory", "state", "found by"), [(hit.id, hit.state, hit.explain()) for hit in found])
        output.print_line(f"searched: {', '.join(found.retrievers) or 'none'}")


def _parse_pairs(given: tuple[str, ...]) -> dict[str, str]:
    wrong = [pair for pair in given if not pair.partition("=")[1] or pair.startswith("=")]
    if wrong:
        raise click.UsageError(f"--metadata {wrong[0]!r} has no form KEY=VALUE.")
    return {key: value for key, _, value in (pair.partition("=") for pair in given)}


def _hit_document(hit: Hit, *, explain: bool) -> dict[str, Any]:
    names = ("id", "content", "score", "kind", "at", "source", "metadata", "speaker", "session", "turn", "state")
    document: dict[str, Any] = {name: getattr(hit, name) for name in names}
    for side, turns in (("before", hit.before), ("after", hit.after)):
        if turns:
            told = ("id", "turn", "speaker", "content", "at")
            document[side] = [{name: getattr(turn, name) for name in told} for turn in turns]
    return document | (asdict(hit.why) if explain else {})


def _quote(record: MemoryRecord) -> str:
    return f"{record.speaker}: {record.content}" if record.speaker else record.content
