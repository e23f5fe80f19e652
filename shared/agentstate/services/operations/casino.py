"""The casino: bets carry our tag as `client_seed`, which the casino stores and shows again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

from agentstate.errors import AmountInvalid, ServiceAnswerInvalid
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.amounts import CENT, from_micros, nearest_micros
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Case, Operation
from agentstate.services.operations.funding import Deposit
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt
from agentstate.services.operations.service_ledger import read_ledger

EXPORT_ROWS = 10_000
SKEW = timedelta(seconds=2)
"""How far the casino's clock may be behind ours; its ledger tells whole seconds."""

EXPORT_MARGIN = timedelta(minutes=10)
"""How far before the call the export is read: clocks differ, and an earlier attempt may have been the one."""


class Bet(Operation):
    """Bet on a coin or on dice.

    Params: `amount` (Decimal, whole cents), `game` ("coin-flip", the default, or "dice"), `side` ("heads", "tails") for
    the coin, `direction` ("over", "under") and `threshold` (2 to 98) for dice.
    """

    name = "casino.bet"
    guarantee = Guarantee.VERIFIABLE
    cost = "amount"
    reference = "client_seed"
    refusals = frozenset(
        {
            "invalid_amount", "invalid_game", "invalid_side", "invalid_direction", "invalid_threshold",
            "invalid_client_seed", "minimum_bet", "insufficient_balance", "kelly_limit_exceeded",
        }
    )  # fmt: skip

    def request(self, tag: str, params: Params) -> Body:
        """Whole cents alone: payouts are then exact, although the casino shows amounts rounded to cents."""
        game = params.choice("game", ("coin-flip", "dice"), "coin-flip")
        micros = params.micros("amount", least=CENT)
        if micros % CENT:
            raise AmountInvalid(f"casino.bet: amount {from_micros(micros)} is not in whole cents. Nothing was sent.")
        choice: Body
        if game == "coin-flip":
            choice = {"side": params.choice("side", ("heads", "tails"))}
        else:
            choice = {
                "direction": params.choice("direction", ("over", "under")),
                "threshold": params.whole("threshold", 2, 98),
            }
        return {"game": game, "amount": from_micros(micros), "client_seed": tag, **choice}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The stake is what we asked for; the payout is stake x multiplier, not the rounded `amount_won`."""
        stake: Decimal = body["amount"]
        won = answer.flag("won")
        payout = nearest_micros(stake * answer.number("payout_multiplier")) if won else 0
        debited, result = nearest_micros(stake), str(answer.get("result") or "")
        return self.made(answer.text("bet_id"), debited=debited, credited=payout, won=won, result=result)

    def found(self, case: Case) -> Verdict:
        """Look for our `client_seed` in the export of bets."""
        since = (case.called_at - EXPORT_MARGIN).isoformat(timespec="seconds")
        export = Answer(case.gateway.read(case.agent_id, self.service, "export", client_seed=case.tag, since=since))
        rows = export.items("rows")
        ours = [row for row in rows if row.get("client_seed") == case.tag]
        if len({row.text("bet_id") for row in ours}) > 1:
            return Unknown(f"{len(ours)} bets carry our client_seed: the casino placed one call more than once")
        if ours:
            return Applied(self.receipt(_checked(ours[-1], case), case.body))
        if len(rows) >= EXPORT_ROWS:
            return Unknown("the export of bets is full and does not show the tag; look at the casino")
        stuck = self._stuck(case)
        return stuck or self.missing(case, "no bet with our client_seed is there")

    def _stuck(self, case: Case) -> Unknown | None:
        """A stake that was taken without a bet: the casino died between the two, and calling again would pay twice."""
        stake, begun = nearest_micros(case.body["amount"]), case.called_at - SKEW
        rows = [row for row in read_ledger(case.gateway, case.agent_id).rows if row.at >= begun]
        taken = {row.reference for row in rows if row.reason == "reservation" and row.amount == -stake}
        if not taken:
            return None
        since = (begun - SKEW).isoformat(timespec="seconds")
        bets = Answer(case.gateway.read(case.agent_id, self.service, "export", since=since)).items("rows")
        orphans = taken - {bet.text("bet_id") for bet in bets}
        return Unknown(f"the casino took the stake of {len(orphans)} bets that it does not have") if orphans else None


def _checked(row: Answer, case: Case) -> Answer:
    stake = nearest_micros(case.body["amount"])
    if row.micros("amount_bet") != stake:
        raise ServiceAnswerInvalid(f"the bet with our tag has another stake than {case.body['amount']}.")
    return row


class Register(Operation):
    """Make the agent known to the gateway. Params: `referral_code` (optional). Harmless to repeat.

    The services' own routes have `join` in its place, which makes an account at each.
    """

    name = "casino.register"
    guarantee = Guarantee.NATURAL

    def request(self, tag: str, params: Params) -> Body:
        """Whose referral it is, if anybody's."""
        del tag
        return params.referral()

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """Whether the agent is new."""
        del body
        return self.made(answer.text("agent_id"), created=answer.flag("created"))

    def found(self, case: Case) -> Verdict:
        """Repeating is harmless, so nothing is looked up."""
        del case
        return Absent("registering twice does nothing")


bet: Final = Bet()
register: Final = Register()
deposit: Final = Deposit("casino.deposit")
