"""`agentstate forget`: memories removed from every store, with the answer of each store afterwards."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verb


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
