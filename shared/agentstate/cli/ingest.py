"""`agentstate ingest`: store the turns of transcripts, each once however often it is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.output import can_draw, show_progress
from agentstate.cli.verb import Verb

if TYPE_CHECKING:
    from agentstate.memory.facts.counts import Settling
    from agentstate.memory.ingest.ingest import IngestReport
    from agentstate.memory.ingest.transcripts import Form, Parsed, Problem

FORMATS = ("auto", "jsonl", "json", "locomo")
MOST_SHOWN = 20
"""Refused turns that are listed for people; JSON has them all."""


@dataclass
class _Taken:
    """The outcome of all files so far."""

    reports: dict[str, IngestReport] = field(default_factory=dict)
    agents: set[str] = field(default_factory=set)

    def total(self, name: str) -> int:
        return sum(getattr(report, name) for report in self.reports.values())

    @property
    def refusals(self) -> list[tuple[str, Problem]]:
        return [(file, problem) for file, report in self.reports.items() for problem in report.refused]

    def as_document(self, settled: Settling | None) -> dict[str, Any]:
        return {
            "stored": self.total("stored"),
            "already": self.total("already"),
            "refused": [{"file": file, **asdict(problem)} for file, problem in self.refusals],
            "files": {
                file: {
                    "read": report.read,
                    "stored": report.stored,
                    "already": report.already,
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
    taken = _Taken()
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
    nothing = taken.total("stored") + taken.total("already") == 0
    context.exit(1 if taken.refusals and (strict or nothing) else 0)


def _ingest_file(invocation: Invocation, taken: _Taken, file: str, form: Form, agent_id: str | None) -> None:
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


def _wait_until_settled(invocation: Invocation, taken: _Taken, timeout: float) -> Settling:
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
    return f"{stored} stored, {report.already:,} there already, {len(report.refused):,} refused"
