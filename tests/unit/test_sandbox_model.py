"""The sandbox's books without HTTP: money is neither made nor lost, and time runs escrows out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.sandbox.http.serving import RequestLimits
from deploy.local.sandbox.model.books import MICROS, Books, Chance, Refusal
from deploy.local.sandbox.model.casino import Casino, play_game
from deploy.local.sandbox.model.domains import price_of
from deploy.local.sandbox.model.escrow import Escrows, fee_of
from deploy.local.sandbox.model.funding import Funding
from deploy.local.sandbox.model.trading import COINS, Trading, profit_of

START_US = 1_800_000_000 * MICROS
HOUR_US = 3_600 * MICROS


class Now:
    def __init__(self) -> None:
        self.us = START_US

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def books(tmp_path: Path, now: Now) -> Iterator[Books]:
    books = Books(tmp_path, Chance(7), now)
    funding = Funding(books)
    for agent in ("a", "b"):
        funding.register_agent(agent)
        funding.deposit_money(agent, "casino", 100 * MICROS, "start")
        funding.deposit_money(agent, "trading", 100 * MICROS, "start", "trading")
    yield books
    books.close()


def test_an_escrow_whose_time_is_over_goes_back_less_the_fee(books: Books, now: Now) -> None:
    escrows = Escrows(books)
    row = escrows.create_escrow("a", "b", 10 * MICROS, "work", 2)
    assert (books.read_balance("a"), escrows.sum_locked("a")) == (90 * MICROS, 10 * MICROS)
    now.us += 2 * HOUR_US - 1
    assert escrows.refund_overdue() == 0
    now.us += 1
    assert escrows.refund_overdue() == 1
    assert (books.read_balance("a"), books.read_balance("b"), escrows.sum_locked("a")) == (99_900_000, 100 * MICROS, 0)
    assert escrows.refund_overdue() == 0
    assert escrows.get_escrow(row["escrow_id"])["status"] == "refunded"


def test_a_disputed_escrow_never_moves_again(books: Books, now: Now) -> None:
    escrows = Escrows(books)
    escrow_id = escrows.create_escrow("a", "b", 10 * MICROS, "work", 1)["escrow_id"]
    escrows.dispute_escrow("b", escrow_id)
    now.us += 1_000 * HOUR_US
    assert escrows.refund_overdue() == 0
    with pytest.raises(Refusal, match="409 invalid_status"):
        escrows.release_escrow("a", escrow_id)


@pytest.mark.parametrize(
    ("amount", "fee"), [(10_000_000, 100_000), (1, 0), (49, 0), (50, 1), (149, 1), (150, 2), (33_333_333, 333_333)]
)
def test_the_fee_is_one_per_cent_to_the_nearest_micro(amount: int, fee: int) -> None:
    assert fee_of(amount) == fee


def test_what_is_refused_is_rolled_back(books: Books) -> None:
    before = books.query_rows("SELECT * FROM entries")

    def fail() -> None:
        with books.open_transaction():
            books.post_entry("a", -1, "reservation", "x", "casino")
            raise Refusal(400, "too_late")

    with pytest.raises(Refusal):
        fail()
    assert books.query_rows("SELECT * FROM entries") == before
    assert books.read_balance("a") == 100 * MICROS


def test_balances_are_the_sums_of_their_rows(books: Books) -> None:
    casino = Casino(books)
    for number in range(50):
        casino.place_bet("a", "dice", "over:40", 37_000 + number * 10_000, f"s{number}")
    rows = books.query_rows("SELECT micros, balance_after FROM entries WHERE agent_id = 'a' AND account = 'casino'")
    assert books.read_balance("a") == sum(row["micros"] for row in rows) == rows[-1]["balance_after"]


@given(st.integers(min_value=2, max_value=98), st.integers(min_value=0, max_value=99), st.booleans())
def test_dice_pay_what_their_chance_is_worth(threshold: int, draw: int, over: bool) -> None:
    outcome = play_game("dice", f"{'over' if over else 'under'}:{threshold}", draw)
    winning = 99 - threshold if over else threshold
    assert outcome.won is (draw > threshold if over else draw < threshold)
    assert outcome.multiplier_e4 == 995_000 // winning


def test_a_loss_ends_at_the_margin(books: Books) -> None:
    trading = Trading(books)
    row = trading.open_position("a", "BTC", "long", 50 * MICROS, 10)
    assert profit_of(row, 1) == -row["margin"]
    assert row["margin"] == row["notional"] // 10
    assert trading.margin_used("a") == row["margin"]


def test_prices_move_with_time_and_stay_near_their_base(books: Books, now: Now) -> None:
    trading = Trading(books)
    seen = set()
    for _ in range(50):
        now.us += 5 * MICROS
        seen.add(trading.read_price("ETH"))
    assert len(seen) > 40
    assert all(abs(price - COINS["ETH"].base) <= COINS["ETH"].base // 100 for price in seen)


def test_a_name_costs_what_the_registrar_asks_and_two_margins() -> None:
    assert price_of("fleet.dev") == 19_440_000
    for wrong in ("", "dev", ".dev", "a b.dev", "-a.dev", "fleet.zzz", "FLEET.dev", "a.dev\n"):
        with pytest.raises(Refusal, match="invalid_domain"):
            price_of(wrong)


def test_limits_count_per_path_address_and_window() -> None:
    seconds = [1_000.0 * 60]
    limits = RequestLimits(lambda: seconds[0])
    refused = [limits.find_refusal("faucet", "claim", "faucet/claim", "10.0.0.1", "a") for _ in range(6)]
    assert refused[:5] == [None] * 5
    assert refused[5] is not None
    assert limits.find_refusal("faucet", "claim", "faucet/claim", "10.0.0.2", "a") is None
    assert limits.find_refusal("faucet", "state", "faucet/state", "10.0.0.1", "a") is None
    seconds[0] += 60
    assert limits.find_refusal("faucet", "claim", "faucet/claim", "10.0.0.1", "a") is None


def test_an_agents_bets_are_limited_over_all_addresses() -> None:
    limits = RequestLimits(lambda: 60_000.0)
    answers = [limits.find_refusal("casino", "bet", "casino/bet", f"10.0.0.{number}", "a") for number in range(61)]
    assert answers[:60] == [None] * 60
    assert answers[60] is not None
    assert answers[60]["reset_at"] == "1970-01-01T16:41:00.000Z"
