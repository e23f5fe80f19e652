"""`agentstate index`: compare the index with the durable store, rebuild it, or move it to another embedding model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.output import show_progress
from agentstate.cli.verb import Verbs
from agentstate.errors import InvalidInput

if TYPE_CHECKING:
    from agentstate.memory.index.rebuild import BuildProgress
    from agentstate.memory.index.verify import Comparison
    from agentstate.settings import Settings


@click.group(cls=Verbs)
def index() -> None:
    """Look after the index of memories.

    The durable store is the source of truth. The index is derived from it, can be compared with it, and rebuilt.
    """


@index.command("list")
@pass_invocation
def list_collections(invocation: Invocation) -> None:
    """List the collections of memories, and which of them are searched."""
    fleet_index = invocation.fleet.index
    found = [asdict(each) for each in fleet_index.list_collections()]
    if invocation.as_json:
        output.print_document({"space": fleet_index.space, "collections": found})
    else:
        output.print_table(("collection", "points", "serves"), [tuple(each.values()) for each in found])


@index.command()
@click.option("--no-repair", is_flag=True, help="Report the differences only.")
@click.option("--remove-unknown", is_flag=True, help="Also remove points of memories that this store does not have.")
@pass_invocation
@click.pass_context
def verify(context: click.Context, invocation: Invocation, *, no_repair: bool, remove_unknown: bool) -> None:
    """Compare every memory with its points in the index, and repair the differences.

    Missing memories are queued for the workers again, surplus points are removed. Points of memories that this durable
    store does not have may be another store's: they are counted, and stay unless --remove-unknown is given. Exit code 1
    when there were differences that were not repaired.
    """
    if no_repair and remove_unknown:
        raise click.UsageError("--no-repair changes nothing and --remove-unknown removes: give one of them.")
    with show_progress("compared", shown=not invocation.as_json) as advance:
        found = invocation.fleet.index.verify(
            repair=not no_repair,
            remove_unknown=remove_unknown,
            progress=lambda so_far: advance(so_far.rows + so_far.points, None, ""),
        )
    _print_comparison(invocation, found, repaired=not no_repair, removed=remove_unknown)
    left = not found.is_sound if no_repair else found.unknown > 0 and not remove_unknown
    context.exit(1 if left else 0)


@index.command()
@click.option("--remove-unknown", is_flag=True, help="Also remove points of memories that this store does not have.")
@pass_invocation
def rebuild(invocation: Invocation, *, remove_unknown: bool) -> None:
    """Rebuild the index from the durable store, beside the one that is searched, and switch to it.

    Search goes on meanwhile. Run again after an interruption, it resumes; vectors that were made before are not paid
    for again. Points of memories that this durable store does not have would go with the old collection:
    they may be another store's, so it is refused unless --remove-unknown is given.
    """
    _run_build(invocation, None, remove_unknown=remove_unknown)


@index.command("switch-model")
@click.option("--embedder", type=click.Choice(["openai", "minilm", "lexical"]), help="The embedder from now on.")
@click.option("--model", help="Name of the embedding model at the provider.")
@click.option("--dimensions", type=click.IntRange(8, 8192), help="Width to ask the provider for.")
@pass_invocation
def switch_model(invocation: Invocation, *, embedder: str | None, model: str | None, dimensions: int | None) -> None:
    """Embed all memories with another model, while search goes on with the present one.

    Run again after an interruption, it resumes. When it is done, give all processes the new settings and
    restart them: they find everything in collections. The old model's collection stays until it is dropped with
    `agentstate index drop`.
    """
    given = {"embedder": embedder, "embedding_model": model, "embedding_dimensions": dimensions}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("say what changes: --embedder, --model or --dimensions.")
    _run_build(invocation, invocation.settings.model_copy(update=changes))
    if not invocation.as_json:
        wanted = " ".join(f"AGENTSTATE_{name.upper()}={value}" for name, value in changes.items())
        output.print_note(
            f"now give all processes {wanted} and restart them; the old collection stays until it is dropped."
        )


@index.command()
@click.option("--agent", "agent_id", help="Only memories of this agent.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Memories at most.")
@pass_invocation
def dead(invocation: Invocation, *, agent_id: str | None, limit: int) -> None:
    """List memories that were given up, with the cause.

    The provider refused them, or its key or quota was refused. They stay stored and are found by their words.
    """
    found = invocation.fleet.index.list_dead(agent_id=agent_id, limit=limit)
    if invocation.as_json:
        output.print_document({"dead": [asdict(each) for each in found]})
    else:
        output.print_table(("memory", "agent", "attempts", "cause"), [tuple(asdict(each).values()) for each in found])


@index.command()
@click.option("--agent", "agent_id", help="Only memories of this agent.")
@pass_invocation
def revive(invocation: Invocation, *, agent_id: str | None) -> None:
    """Queue memories that were given up again, once the cause is gone."""
    revived = invocation.fleet.index.revive(agent_id=agent_id)
    if invocation.as_json:
        output.print_document({"revived": revived})
    else:
        output.print_line(f"{revived:,} memories wait again")


@index.command()
@click.argument("collection")
@pass_invocation
def drop(invocation: Invocation, *, collection: str) -> None:
    """Drop a collection of another vector space than the one in use."""
    try:
        invocation.fleet.index.drop(collection)
    except InvalidInput as error:
        raise click.UsageError(error.message) from error
    if invocation.as_json:
        output.print_document({"dropped": collection})
    else:
        output.print_line(f"{collection} dropped")


def _run_build(invocation: Invocation, settings: Settings | None, *, remove_unknown: bool = False) -> None:
    began = time.monotonic()
    with show_progress("memories", shown=not invocation.as_json) as advance:
        build, found = invocation.fleet.index.rebuild(
            settings, remove_unknown=remove_unknown, progress=_with_rate(advance)
        )
    seconds = time.monotonic() - began
    if invocation.as_json:
        output.print_document({"build": asdict(build), "compared": asdict(found), "seconds": round(seconds, 3)})
        return
    before = f", {build.earlier:,} of them by a run that was cut short," if build.resumed else ""
    output.print_line(f"{build.collection} serves: {build.written:,} memories{before} in {seconds:.1f} s")
    if build.left_out:
        output.print_note(f"warning: {build.left_out:,} were left out: the provider refuses them")
    _print_comparison(invocation, found, repaired=True)


def _with_rate(advance: Callable[[int, int | None, str], None]) -> Callable[[BuildProgress], None]:
    began, first = time.monotonic(), [-1]

    def advance_build(build: BuildProgress) -> None:
        if first[0] < 0:
            first[0] = build.written
        rate = (build.written - first[0]) / max(time.monotonic() - began, 0.001)
        advance(build.written, build.total, f"{rate:,.0f} a second")

    return advance_build


def _print_comparison(invocation: Invocation, found: Comparison, *, repaired: bool, removed: bool = False) -> None:
    if invocation.as_json:
        differs = found.queued + found.orphaned > 0
        counts = {**asdict(found), "sound": found.is_sound}
        output.print_document({**counts, "repaired": repaired and differs, "removed_unknown": removed})
        return
    output.print_line(f"{found.rows:,} memories and {found.points:,} points compared")
    what = {
        "missing from the index": found.missing,
        "in another version": found.stale,
        "by older rules of words": found.outdated,
        "points too many": found.orphaned,
    }
    for name, count in what.items():
        if count:
            output.print_line(f"{count:,} {name}" + (", repaired or waiting for the workers" if repaired else ""))
    if found.unknown:
        output.print_line(
            f"{found.unknown:,} points of memories that this durable store does not have" + ", removed" * removed
        )
    if found.unknown and not removed:
        output.print_note(
            "warning: those points were left alone. If another durable store uses this Qdrant, give each its own; "
            "if not, as after restoring a backup, `agentstate index verify --remove-unknown` removes them"
        )
    if found.elsewhere:
        output.print_note(
            f"warning: {found.elsewhere:,} memories are searchable in another vector space alone; "
            "`agentstate index rebuild` brings them here"
        )
