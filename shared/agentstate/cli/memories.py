"""`agentstate remember`, `recall`, `history`, `forget` and `ingest`: the memories of an agent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.output import can_draw, show_progress
from agentstate.cli.verb import Moment, Verb

if TYPE_CHECKING:
    from agentstate.memory.facts.counts import Settling
    from agentstate.memory.facts.records import MemoryRecord
    from agentstate.memory.facts.service import Receipt
    from agentstate.memory.ingest.ingest import IngestReport
    from agentstate.memory.ingest.transcripts import Form, Parsed, Problem
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
        rows += [("", "before", turn.at, output.shorten_text(_quote_speaker(turn), width)) for turn in hit.before]
        rows.append((f"{hit.score:.3f}", hit.kind, hit.at, output.shorten_text(_quote_speaker(hit.record), width)))
        rows += [("", "after", turn.at, output.shorten_text(_quote_speaker(turn), width)) for turn in hit.after]
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


def _quote_speaker(record: MemoryRecord) -> str:
    return f"{record.speaker}: {record.content}" if record.speaker else record.content


@click.command(cls=Verb)
@click.argument("agent")
@click.argument("subject")
@click.option("--as-of", type=Moment(), help="As it was known at this time, with zone; unset: now.")
@click.option("--namespace", multiple=True, help="Also from this namespace, which several agents share; repeatable.")
@pass_invocation
def history(
    invocation: Invocation, *, agent: str, subject: str, as_of: datetime | None, namespace: tuple[str, ...]
) -> None:
    """Show the statements of AGENT about SUBJECT, oldest first.

    The statement that is held for true is marked; with --as-of, the one that was.
    """
    memory = invocation.runtime.memory.of(agent)
    stated = memory.statements(subject, known_as_of=as_of, namespaces=namespace)
    held = memory.believed(subject, as_of=as_of, namespaces=namespace)
    held_id = None if held is None else held.id
    if invocation.as_json:
        names = ("id", "agent_id", "kind", "content", "metadata", "source", "valid_from", "valid_to", "superseded_by")
        documents = [
            {**{name: getattr(one, name) for name in names}, "stored_at": one.created_at, "holds": one.id == held_id}
            for one in stated
        ]
        output.print_document({"subject": subject, "statements": documents})
    elif stated:
        rows = [
            (
                one.id == held_id,
                one.valid_from or one.created_at,
                one.valid_to or one.superseded_at,
                output.shorten_text(one.content, output.width_left(50)),
            )
            for one in stated
        ]
        output.print_table(("holds", "from", "to", "statement"), rows)
    else:
        output.print_line(f"{agent} stated nothing about {subject}")


@click.command(cls=Verb)
@click.argument("agent")
@click.argument("memory", type=click.UUID, required=False)
@click.option("--namespace", help="The memory is in this namespace, which several agents share.")
@click.option("--everything", is_flag=True, help="All memories and episodes of AGENT, in place of one memory.")
@click.option("--conversations", is_flag=True, help="With --everything: also every turn and summary.")
@pass_invocation
def forget(
    invocation: Invocation,
    *,
    agent: str,
    memory: UUID | None,
    namespace: str | None,
    everything: bool,
    conversations: bool,
) -> None:
    """Remove MEMORY of AGENT, or all that it remembers.

    It is gone for good.

    Every store is asked afterwards whether anything is left. Books, effects and states are kept: they are the record
    of what the agent did with money.
    """
    if everything == (memory is not None):
        raise click.UsageError("name one MEMORY by its id, or say --everything. Nothing was removed.")
    if conversations and not everything:
        raise click.UsageError("--conversations goes with --everything. Nothing was removed.")
    if namespace is not None and everything:
        raise click.UsageError("memories in a namespace are not the agent's alone. Nothing was removed.")
    memories = invocation.runtime.memory.of(agent)
    if memory is not None:
        receipt = memories.forget(memory, namespace=namespace)
    else:
        receipt = memories.forget_all(conversations=conversations)
    if invocation.as_json:
        output.print_document(
            {
                "agent": receipt.agent_id,
                "memory": receipt.memory_id,
                "complete": receipt.complete,
                "stores": [asdict(store) for store in receipt.stores],
                "kept": dict(receipt.kept),
            }
        )
        return
    rows = [(store.store, store.removed, "unknown" if store.left is None else store.left) for store in receipt.stores]
    output.print_table(("store", "removed", "left"), rows)
    for store in receipt.stores:
        if store.note:
            output.print_note(f"{store.store}: {store.note}")
    if receipt.kept:
        output.print_line("kept: " + ", ".join(f"{count:,} rows of {name}" for name, count in receipt.kept.items()))


FORMATS = ("auto", "jsonl", "json", "locomo")
MOST_SHOWN = 20
"""Refused turns that are listed for people; JSON has them all."""


@dataclass
class _Ingested:
    """The outcome of all files so far."""

    reports: dict[str, IngestReport] = field(default_factory=dict)
    agents: set[str] = field(default_factory=set)

    def count_turns(self, name: str) -> int:
        return sum(getattr(report, name) for report in self.reports.values())

    @property
    def refusals(self) -> list[tuple[str, Problem]]:
        return [(file, problem) for file, report in self.reports.items() for problem in report.refused]

    def as_document(self, settled: Settling | None) -> dict[str, Any]:
        return {
            "stored": self.count_turns("stored"),
            "already": self.count_turns("already"),
            "refused": [{"file": file, **asdict(problem)} for file, problem in self.refusals],
            "files": {
                file: {
                    "read": report.read,
                    "stored": report.stored,
                    "already": report.already,
                    "forgotten": report.forgotten,
                    "refused": len(report.refused),
                }
                for file, report in self.reports.items()
            },
            "agents": sorted(self.agents),
            "settled": None if settled is None else asdict(settled),
        }


@click.command(cls=Verb)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--agent", "agent_id", help="The agent of turns that name none.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="auto", show_default=True, help="Form of the files."
)
@click.option("--wait", is_flag=True, help="Return when all is searchable and due summaries are made.")
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=600.0, show_default=True, help="Seconds to wait at most."
)
@click.option(
    "--strict", is_flag=True, help="Exit with 1 when any turn was refused; the others are taken all the same."
)
@pass_invocation
@click.pass_context
def ingest(
    context: click.Context,
    invocation: Invocation,
    *,
    files: tuple[str, ...],
    agent_id: str | None,
    form: Form,
    wait: bool,
    timeout: float,
    strict: bool,
) -> None:
    """Ingest transcripts: every turn once, searchable soon.

    A turn is a JSON object with agent, session, speaker, time and text, one a line or in a list; id, role and metadata
    are taken too, and LoCoMo's files are read as they are. A turn without id is recognized by its text, so a file that
    is ingested again, after any interruption too, adds only the missing turns.

    A bad turn is refused with its line and the reason, and the rest is taken: exit code 0 with a
    warning; 1 with --strict, or when nothing at all could be taken.
    """
    taken = _Ingested()
    for file in files:
        _ingest_file(invocation, taken, file, form, agent_id)
    settled = _wait_until_settled(invocation, taken, timeout) if wait else None
    if invocation.as_json:
        output.print_document(taken.as_document(settled))
    else:
        for file, report in taken.reports.items():
            output.print_line(f"{file}: {_summarize_report(report)}")
        _print_refused(taken.refusals)
        if settled is not None:
            output.print_line(str(settled))
    nothing = taken.count_turns("stored") + taken.count_turns("already") == 0
    context.exit(1 if taken.refusals and (strict or nothing) else 0)


def _ingest_file(invocation: Invocation, taken: _Ingested, file: str, form: Form, agent_id: str | None) -> None:
    from agentstate.memory.ingest.ingest import Ingest
    from agentstate.memory.ingest.transcripts import read_transcript

    runtime, settings = invocation.runtime, invocation.settings

    def read_turns() -> Iterator[Parsed]:
        for turn in read_transcript(Path(file), settings, form=form, agent_id=agent_id):
            if (agent := getattr(turn, "agent_id", None)) is not None:
                taken.agents.add(agent)
            yield turn

    total = sum(1 for _ in read_turns()) if not invocation.as_json and can_draw() else None
    with show_progress(Path(file).name, shown=not invocation.as_json) as advance:
        advance(0, total, "")
        taken.reports[file] = Ingest(runtime.store, runtime.jobs, runtime.memory, settings).store_turns(
            read_turns(), lambda report: advance(report.read, total, _summarize_report(report))
        )


def _wait_until_settled(invocation: Invocation, taken: _Ingested, timeout: float) -> Settling:
    from agentstate.memory.facts.counts import wait_until_settled

    with show_progress("searchable", shown=not invocation.as_json) as advance:
        return wait_until_settled(
            invocation.runtime.store,
            taken.agents,
            timeout_s=timeout,
            progress=lambda now: advance(now.searchable + now.dead, now.memories, ""),
        )


def _print_refused(refused: list[tuple[str, Problem]]) -> None:
    if refused:
        output.print_note(f"warning: {output.count_noun(len(refused), 'turn')} refused; nothing of that was stored:")
    for file, problem in refused[:MOST_SHOWN]:
        where = f" ({problem.where})" if problem.where else ""
        output.print_note(f"{file}:{problem.line}{where}: {problem.reason}")
    if len(refused) > MOST_SHOWN:
        output.print_note(f"... and {len(refused) - MOST_SHOWN:,} more; --json lists all")


def _summarize_report(report: IngestReport) -> str:
    stored = output.count_noun(report.stored, "turn")
    forgotten = f", {report.forgotten:,} of them forgotten since" if report.forgotten else ""
    return f"{stored} stored, {report.already:,} there already{forgotten}, {len(report.refused):,} refused"
