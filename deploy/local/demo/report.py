"""The report for people: tables on a terminal, plain columns when it is piped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentstate.money.amounts import Money
from deploy.local.demo.findings import Balance, Findings
from deploy.local.demo.promises import Verdict


def print_report(out: Console, found: Findings, verdicts: Sequence[Verdict]) -> None:
    """Print all tables, the promises last."""
    for table in (
        work_table(found),
        answer_table(found),
        effect_table(found),
        balance_table(found),
        break_table(found),
    ):
        print_table(out, table)
    print_end(out, found, verdicts)


def print_end(out: Console, found: Findings, verdicts: Sequence[Verdict]) -> None:
    """Print the disruptions with their surroundings, and the promises."""
    print_table(out, surroundings_table(found))
    promises = make_table("Promises", "promise", "how it was checked", "result")
    for verdict in verdicts:
        result = Text("ok", "green") if verdict.is_kept else Text(verdict.as_text(), "bold red")
        promises.add_row(verdict.promise, verdict.checked, result)
    print_table(out, promises)
    for line in found.failures:
        out.print(Text(line))


def make_table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    """Return an empty table; the columns in `right` are aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def print_table(out: Console, table: Table) -> None:
    """Print a table, without lines when the output is piped."""
    if not out.is_terminal:
        table.box = None
        table.title = f"\n{table.title}" if table.title else None
    out.print(table)


def work_table(found: Findings) -> Table:
    """Jobs by kind, with their times."""
    numbers = ("done", "not done", "for later", "p50", "p95")
    table = make_table("Work", "kind", *numbers, right=numbers)
    for work in found.work:
        times = (f"{work.p50_s:.2f} s", f"{work.p95_s:.2f} s") if work.count else ("-", "-")
        table.add_row(work.kind, str(work.count), str(work.unfinished), str(work.later), *times)
    return table


def answer_table(found: Findings) -> Table:
    """Questions and the memories recalled for them."""
    stored, searchable = (sum(getattr(m, name) for m in found.memories) for name in ("stored", "searchable"))
    table = make_table(
        f"Memory: {stored} stored, {searchable} searchable; {found.turns} turns, {found.summaries} summaries of "
        f"{found.summarized} turns",
        "asked of", "question", "recalled", "score", "found by",
    )  # fmt: skip
    for answer in found.answers:
        table.add_row(answer.agent_id, answer.question, answer.content, f"{answer.score:.2f}", answer.retrievers)
    return table


def effect_table(found: Findings) -> Table:
    """Effects by operation: their states, and how the uncertain ones were resolved."""
    injected = ", ".join(f"{count} {kind}" for kind, count in sorted(found.injected.items())) or "none"
    numbers = ("succeeded", "failed", "open", "found out", "there already", "called again", "longest")
    title = f"Effects: {len(found.effects)} intents, at most {found.most_effects} effect of each; faults injected: "
    table = make_table(title + injected, "operation", *numbers, right=numbers)
    for operation in sorted({effect.operation for effect in found.effects}):
        mine = [effect for effect in found.effects if effect.operation == operation]
        states = Counter(effect.state for effect in mine)
        resumed = [effect for effect in mine if effect.resumed]
        again = sum(effect.attempts > 1 for effect in resumed)
        still_open = len(mine) - states["succeeded"] - states["failed"]
        longest = f"{max(effect.open_s for effect in resumed):.0f} s" if resumed else "-"
        cells = (states["succeeded"], states["failed"], still_open, len(resumed), len(resumed) - again, again, longest)
        table.add_row(operation, *map(str, cells))
    return table


def balance_table(found: Findings) -> Table:
    """One line an agent: the service's amounts, and the difference of the ledger from them."""
    accounts = list(dict.fromkeys(balance.account for balance in found.balances))
    numbers = (*accounts, "difference")
    table = make_table("Ledger against the services, in USDC", "agent", *numbers, right=numbers)
    by_agent: dict[str, dict[str, Balance]] = defaultdict(dict)
    for balance in found.balances:
        by_agent[balance.agent_id][balance.account] = balance
    for agent, known in by_agent.items():
        off = sum(abs(balance.difference) for balance in known.values())
        amounts = (f"{Money.from_minor(known[account].truth).amount:f}" for account in accounts)
        table.add_row(agent, *amounts, f"{Money.from_minor(off).amount:f}" if off else "0")
    return table


def break_table(found: Findings) -> Table:
    """All breaks, with the planted one."""
    states = Counter(item.state for item in found.breaks)
    table = make_table(
        f"Breaks: {len(found.breaks)} opened, {len(found.breaks) - states['open']} explained, {states['open']} open",
        "agent", "service", "kind", "amount", "state", "explanation",
    )  # fmt: skip
    for item in found.breaks:
        amount = "-" if item.amount is None else f"{item.amount:f}"
        table.add_row(item.agent_id, item.service, item.kind, amount, item.state, item.resolution or "-")
    return table


def surroundings_table(found: Findings) -> Table:
    """Disruptions, snapshots, Flower, Redis, and unfinished work."""
    table = make_table("Around it", "what", "found")
    for text in found.disruptions:
        table.add_row("went wrong on purpose", text)
    slots = ", ".join(f"{slot[11:19]}: {rows}" for slot, rows in found.snapshots.items())
    table.add_row("snapshots by beat's slot", slots or "none")
    if found.flower is not None:
        flower = found.flower
        seen = f"{len(flower.workers)} workers ({', '.join(flower.workers)}), {flower.tasks} tasks"
        doors = f"{flower.status_without_password} without password, {flower.status_of_control} to a command"
        table.add_row("Flower", f"{seen}; {doors}")
    immortal = sum(key.ttl_s < 0 for key in found.keys)
    table.add_row("Redis", f"{len(found.keys)} keys of ours, {immortal} of them without a TTL")
    for line in found.open or ("nothing",):
        table.add_row("still open", line)
    return table
