"""Escrow: money of the creator is locked until it is released, or given back when the time is over.

The fee of 1 % is taken when it is released and also when it goes back. A disputed escrow never moves again, and one
that is completed but not released goes back to its creator: both as the real service does.
"""

from __future__ import annotations

from deploy.local.sandbox.model.books import MICROS, Books, Refusal, Row

SHORTEST_TEXT = 3
LEAST = MICROS // 10
MOST_HOURS = 720
OPEN = ("funded", "completed")
LISTED = 200


class Escrows:
    """All escrows, and the sweep of overdue ones."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def create_escrow(self, creator: str, counterparty: str, amount: int, description: str, hours: int) -> Row:
        """Lock `amount` of the creator's shared balance."""
        self._books.require_agent(creator)
        if amount < LEAST:
            raise Refusal(400, "invalid_amount", "Minimum escrow amount is $0.1")
        if len(description) < SHORTEST_TEXT:
            raise Refusal(400, "invalid_description", "description has at least 3 characters.")
        if not 1 <= hours <= MOST_HOURS:
            raise Refusal(400, "invalid_timeout", "timeout_hours is 1 to 720.")
        if creator == counterparty:
            raise Refusal(400, "self_escrow", "The counterparty is another agent.")
        if self._books.query_row("SELECT 1 FROM agents WHERE agent_id = ?", counterparty) is None:
            raise Refusal(404, "counterparty_not_found", "Nobody registered the counterparty.")
        if amount > self._books.read_balance(creator):
            balance = self._books.read_balance(creator)
            raise Refusal(402, "insufficient_balance", "The balance is too low.", balance=balance)
        books, now = self._books, self._books.clock()
        escrow_id = books.chance.make_token("esc", creator, books.next_nonce(creator))
        books.post_entry(creator, -amount, f"escrow_lock: {escrow_id}", escrow_id, "escrow")
        books.pass_step()
        books.insert_row(
            "escrows", escrow_id=escrow_id, creator=creator, counterparty=counterparty, amount=amount,
            fee=fee_of(amount), description=description, status="funded", created_at=now,
            due_at=now + hours * 3_600 * MICROS, changed_at=now,
        )  # fmt: skip
        books.record_effect("escrow", "create", creator, description)
        return self.get_escrow(escrow_id)

    def get_escrow(self, escrow_id: str) -> Row:
        """One escrow."""
        row = self._books.query_row("SELECT * FROM escrows WHERE escrow_id = ?", escrow_id)
        if row is None:
            raise Refusal(404, "not_found", "Escrow not found")
        return row

    def complete_escrow(self, agent_id: str, escrow_id: str) -> Row:
        """The counterparty says that its part is done."""
        row = self.get_escrow(escrow_id)
        if agent_id != row["counterparty"]:
            raise Refusal(403, "forbidden", "Only the counterparty completes.")
        return self._change_status(agent_id, row, "complete", "completed", ("funded",))

    def release_escrow(self, agent_id: str, escrow_id: str) -> Row:
        """The creator lets the money go to the counterparty, less the fee."""
        row = self.get_escrow(escrow_id)
        if agent_id != row["creator"]:
            raise Refusal(403, "forbidden", "Only the creator releases.")
        moved = self._change_status(agent_id, row, "release", "released", OPEN)
        net = row["amount"] - row["fee"]
        self._books.post_entry(row["counterparty"], net, f"escrow_release: {escrow_id}", escrow_id, "escrow")
        return moved

    def dispute_escrow(self, agent_id: str, escrow_id: str) -> Row:
        """Either side stops the escrow, for good."""
        row = self.get_escrow(escrow_id)
        if agent_id not in {row["creator"], row["counterparty"]}:
            raise Refusal(403, "forbidden", "Only a participant disputes.")
        return self._change_status(agent_id, row, "dispute", "disputed", OPEN)

    def _change_status(self, agent_id: str, row: Row, operation: str, target: str, allowed: tuple[str, ...]) -> Row:
        if row["status"] not in allowed:
            raise Refusal(409, "invalid_status", f"The escrow is {row['status']}.")
        self._set_status(row["escrow_id"], target)
        self._books.record_effect("escrow", operation, agent_id, row["escrow_id"])
        return self.get_escrow(row["escrow_id"])

    def _set_status(self, escrow_id: str, status: str) -> None:
        sql = "UPDATE escrows SET status = ?, changed_at = ? WHERE escrow_id = ?"
        self._books.execute(sql, status, self._books.clock(), escrow_id)

    def act_as_counterparty(self, agent_id: str) -> bool:
        """The other side of the agent's newest funded escrow completes it, at times disputes it; False without one."""
        sql = "SELECT * FROM escrows WHERE creator = ? AND status = 'funded' ORDER BY rowid DESC LIMIT 1"
        row = self._books.query_row(sql, agent_id)
        if row is None:
            return False
        disputes = self._books.chance.draw_below(4, "counterparty", row["escrow_id"]) == 0
        self._set_status(row["escrow_id"], "disputed" if disputes else "completed")
        return True

    def sum_escrows(self) -> Row | None:
        """Counts and sums over all escrows."""
        return self._books.query_row(
            "SELECT count(*) AS created, coalesce(sum(status = 'released'), 0) AS released, "
            "coalesce(sum(status = 'disputed'), 0) AS disputed, coalesce(sum(amount), 0) AS volume, "
            "coalesce(sum(CASE WHEN status = 'released' THEN fee ELSE 0 END), 0) AS fees FROM escrows"
        )

    def refund_overdue(self) -> int:
        """Give overdue escrows back to their creators, less the fee; how many."""
        sql = "SELECT * FROM escrows WHERE status IN ('funded', 'completed') AND due_at <= ?"
        overdue = self._books.query_rows(sql, self._books.clock())
        for row in overdue:
            self._set_status(row["escrow_id"], "refunded")
            reason = f"escrow_refund: {row['escrow_id']}"
            self._books.post_entry(row["creator"], row["amount"] - row["fee"], reason, row["escrow_id"], "escrow")
        return len(overdue)

    def list_of_agent(self, agent_id: str) -> list[Row]:
        """The newest escrows in which the agent takes part, at most 200."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM escrows WHERE creator = ? OR counterparty = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"
        return self._books.query_rows(sql, agent_id, agent_id, LISTED)

    def sum_locked(self, agent_id: str) -> int:
        """Micro-dollars of the agent that lie in escrows it created and that are not settled."""
        sql = (
            "SELECT coalesce(sum(amount), 0) AS n FROM escrows "
            "WHERE creator = ? AND status IN ('funded', 'completed', 'disputed')"
        )
        row = self._books.query_row(sql, agent_id)
        return int(row["n"]) if row else 0


def fee_of(amount: int) -> int:
    """1 % of an amount in micro-dollars, half a micro-dollar rounded up."""
    return (amount + 50) // 100
