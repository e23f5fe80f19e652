"""The report for people: tables on a terminal, plain columns when it is piped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentstate.money.amounts import Money
from deploy.local.demo.facts import BalanceFact, Facts
from deploy.local.demo.promises import Verdict, shown
from deploy.local.demo.rows import worst


def print_report(out: Console, facts: Facts, verdicts: Sequence[Verdict]) -> None:
    """Print everything, the promises last."""
    for table in (_tasks(facts), _answers(facts), _effects(facts), _balances(facts), _breaks(facts)):
        out.print(_styled(out, table))
    print_end(out, facts, verdicts)


def print_end(out: Console, facts: Facts, verdicts: Sequence[Verdict]) -> None:
    """Print what was around it, and the promises."""
    out.print(_styled(out, _rest(facts)))
    out.print(_styled(out, _promises(verdicts)))
    for line in facts.failures:
        out.print(Text(line))


def _styled(out: Console, table: Table) -> Table:
    if not out.is_terminal:
        table.box = None
        table.title = f"\n{table.title}" if table.title else None
    return table


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _tasks(facts: Facts) -> Table:
    numbers = ("done", "not done", "for later", "p50", "p95")
    table = _table("Work", "kind", *numbers, right=numbers)
    for task in facts.tasks:
        times = (f"{task.p50_s:.2f} s", f"{task.p95_s:.2f} s") if task.count else ("-", "-")
        table.add_row(task.kind, str(task.count), str(task.unfinished), str(task.later), *times)
    return table


def _answers(facts: Facts) -> Table:
    stored, searchable = (sum(getattr(m, name) for m in facts.memories) for name in ("stored", "searchable"))
    table = _table(
        f"Memory: {stored} stored, {searchable} searchable; {facts.turns} turns, {facts.summaries} summaries of "
        f"{facts.summarized} turns",
        "asked of", "question", "recalled", "score", "found by",
    )  # fmt: skip
    for answer in facts.answers:
        table.add_row(answer.agent_id, answer.question, answer.content, f"{answer.score:.2f}", answer.retrievers)
    return table


def _effects(facts: Facts) -> Table:
    injected = ", ".join(f"{count} {kind}" for kind, count in sorted(facts.injected.items())) or "none"
    table = _table(
        f"Effects: {len(facts.effects)} intents, at most {worst(facts)} effect of each; faults injected: {injected}",
        "operation", "succeeded", "failed", "open", "found out", "there already", "called again", "longest",
        right=("succeeded", "failed", "open", "found out", "there already", "called again", "longest"),
    )  # fmt: skip
    for operation in sorted({found.operation for found in facts.effects}):
        mine = [found for found in facts.effects if found.operation == operation]
        states = Counter(found.state for found in mine)
        resumed = [found for found in mine if found.resumed]
        again = sum(found.attempts > 1 for found in resumed)
        still = len(mine) - states["succeeded"] - states["failed"]
        longest = f"{max(found.open_s for found in resumed):.0f} s" if resumed else "-"
        numbers = (states["succeeded"], states["failed"], still, len(resumed), len(resumed) - again, again)
        table.add_row(operation, *map(str, numbers), longest)
    return table


def _balances(facts: Facts) -> Table:
    """One line an agent: the service's amount, and the difference of the books from it."""
    accounts = list(dict.fromkeys(found.account for found in facts.balances))
    table = _table(
        "Ledger against the services, in USDC", "agent", *accounts, "difference", right=(*accounts, "difference")
    )
    by_agent: dict[str, dict[str, BalanceFact]] = defaultdict(dict)
    for found in facts.balances:
        by_agent[found.agent_id][found.account] = found
    for agent, known in by_agent.items():
        off = sum(abs(found.difference) for found in known.values())
        amounts = (f"{Money.from_minor(known[account].truth).amount:f}" for account in accounts)
        table.add_row(agent, *amounts, f"{Money.from_minor(off).amount:f}" if off else "0")
    return table


def _breaks(facts: Facts) -> Table:
    states = Counter(found.state for found in facts.breaks)
    table = _table(
        f"Breaks: {len(facts.breaks)} opened, {len(facts.breaks) - states['open']} explained, {states['open']} open",
        "agent", "service", "kind", "amount", "state", "explanation",
    )  # fmt: skip
    for found in facts.breaks:
        amount = "-" if found.amount is None else f"{found.amount:f}"
        table.add_row(found.agent_id, found.service, found.kind, amount, found.state, found.resolution or "-")
    return table


def _rest(facts: Facts) -> Table:
    table = _table("Around it", "what", "found")
    for what in facts.killed:
        table.add_row("went wrong on purpose", what)
    slots = ", ".join(f"{slot[11:19]}: {rows}" for slot, rows in facts.snapshots.items())
    table.add_row("snapshots by beat's slot", slots or "none")
    if facts.flower is not None:
        flower = facts.flower
        seen = f"{len(flower.workers)} workers ({', '.join(flower.workers)}), {flower.tasks} tasks"
        doors = f"{flower.status_without_password} without password, {flower.status_of_control} to a command"
        table.add_row("Flower", f"{seen}; {doors}")
    immortal = sum(key.ttl_s < 0 for key in facts.keys)
    table.add_row("Redis", f"{len(facts.keys)} keys of ours, {immortal} of them without a TTL")
    for line in facts.open or ("nothing",):
        table.add_row("still open", line)
    return table


def _promises(verdicts: Sequence[Verdict]) -> Table:
    table = _table("Promises", "promise", "how it was checked", "result")
    for verdict in verdicts:
        result = Text("ok", "green") if verdict.ok else Text(f"BROKEN: {shown(verdict.broken_by)}", "bold red")
        table.add_row(verdict.promise, verdict.checked, result)
    return table
