"""`agentstate remember` and `agentstate recall`: semantic memory from the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.moment import Moment
from agentstate.cli.verb import Verb

if TYPE_CHECKING:
    from agentstate.memory.facts.records import MemoryRecord
    from agentstate.memory.facts.service import Receipt
    from agentstate.memory.search.hits import Hit, Recall


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
    wait: bool,
    timeout: float,
    **about: Any,
) -> None:
    """Remember TEXT for AGENT.

    "-" reads the text from standard input. It is durable when the command returns, found by its words at once, and by
    its meaning soon after. The same text of the same kind is kept once, however often it is given.
    """
    content = sys.stdin.read() if text == "-" else text
    memory = invocation.runtime.memory
    receipt = memory.remember(agent, content, kind=kind, metadata=_pairs(metadata) or None, **about)
    if wait:
        memory.wait_searchable([receipt], timeout_s=timeout)
    _tell_receipt(invocation, receipt, "searchable" if wait else receipt.state)


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
    namespace: tuple[str, ...],
    explain: bool,
    **within: Any,
) -> None:
    """Show the memories of AGENT that answer QUERY.

    The best comes first.
    """
    where = _pairs(metadata)
    found = invocation.runtime.memory.recall(
        agent, query, limit, kind=kind, where=where, namespaces=namespace, **within
    )
    if invocation.as_json:
        output.print_document(_recall_document(found, explain=explain))
    else:
        _show_recall(found, explain=explain)


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    wrong = [pair for pair in given if not pair.partition("=")[1] or pair.startswith("=")]
    if wrong:
        raise click.UsageError(f"--metadata {wrong[0]!r} has no form KEY=VALUE.")
    return {key: value for key, _, value in (pair.partition("=") for pair in given)}


def _tell_receipt(invocation: Invocation, receipt: Receipt, state: str) -> None:
    if invocation.as_json:
        output.print_document({"id": receipt.id, "seq": receipt.seq, "state": state, "created": receipt.created})
    else:
        output.print_line(f"{receipt.id} {state}" + ("" if receipt.created else " (known already)"))


def _recall_document(found: Recall, *, explain: bool) -> dict[str, Any]:
    hits = [_hit(hit, explain=explain) for hit in found]
    return {"hits": hits, "retrievers": list(found.retrievers), "degraded": found.degraded}


def _hit(hit: Hit, *, explain: bool) -> dict[str, Any]:
    how = {"own": hit.own, "freshness": hit.freshness, "retrievers": _retriever_scores(hit)}
    beside = {side: [_turn(turn) for turn in turns] for side, turns in (("before", hit.before), ("after", hit.after))}
    shown = {name: value for name, value in vars(hit).items() if name not in {*how, *beside}}
    return {**shown, **{side: turns for side, turns in beside.items() if turns}, **(how if explain else {})}


def _turn(turn: MemoryRecord) -> dict[str, Any]:
    return {name: getattr(turn, name) for name in ("id", "turn", "speaker", "content", "at")}


def _retriever_scores(hit: Hit) -> dict[str, Any]:
    return {name: {"rank": one.rank, "score": one.score} for name, one in hit.retrievers.items()}


def _show_recall(found: Recall, *, explain: bool) -> None:
    if found.degraded:
        output.print_note(f"warning: {found.degraded}")
    if not found:
        output.print_line("nothing found")
        return
    taken = 42
    width = output.width_left(taken)
    rows = [row for hit in found for row in _rows(hit, width)]
    output.print_table(("score", "kind", "at", "memory"), rows)
    if explain:
        output.print_table(("memory", "state", "found by"), [(hit.id, hit.state, hit.explain()) for hit in found])
        output.print_line(f"searched: {', '.join(found.retrievers) or 'none'}")


def _rows(hit: Hit, width: int) -> Iterator[tuple[object, ...]]:
    yield from (("", "before", turn.at, output.shorten_text(_said(turn), width)) for turn in hit.before)
    yield f"{hit.score:.3f}", hit.kind, hit.at, output.shorten_text(_said(hit), width)
    yield from (("", "after", turn.at, output.shorten_text(_said(turn), width)) for turn in hit.after)


def _said(said: Hit | MemoryRecord) -> str:
    return f"{said.speaker}: {said.content}" if said.speaker else said.content
