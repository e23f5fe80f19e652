"""Recall: the right memory first, only one's own, nothing when nothing matches, and an answer when parts are down."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agentstate.errors import InvalidInput, ProviderTransient, TooLarge
from agentstate.guide import HybridMemory
from agentstate.memory.facts.records import NewMemory
from agentstate.memory.facts.service import MemoryService
from agentstate.memory.index.collection import open_qdrant
from agentstate.memory.index.qdrant_index import MemoryIndex
from tests.worlds.memories import Space, World

FACTS = (
    "The casino's coin flip pays 1.98 times the stake",
    "Domains renew in the first week of a month",
    "Escrow 0xab12cd is released when both sides confirm",
)


def remember_facts(world: World, agent: str = "a") -> None:
    world.memory.remember_many([NewMemory(agent_id=agent, content=fact) for fact in FACTS])


def contents(hits: object) -> list[str]:
    return [hit.content for hit in hits]  # type: ignore[attr-defined]


def test_fresh_memories_are_found_by_words_before_they_are_embedded(world: World) -> None:
    remember_facts(world)
    hits = world.memory.of("a").recall("when do domains renew?")
    assert contents(hits)[0] == FACTS[1]
    assert set(hits[0].why.retrievers) == {"keyword_store"}
    assert hits[0].state == "stored"


def test_embedded_memories_are_found_by_meaning_and_words(world: World) -> None:
    remember_facts(world)
    world.pipeline().run_until_idle()
    hits = world.memory.of("a").recall("renewal of a domain")
    assert contents(hits)[0] == FACTS[1]
    assert hits.retrievers == ("dense", "keyword", "keyword_store")
    assert hits.degraded is None
    assert set(hits[0].why.retrievers) == {"dense", "keyword"}
    assert hits[0].why.retrievers["keyword"].rank == 1
    assert 0 < hits[0].score < 1


def test_without_a_model_the_index_finds_by_words(lexical_world: World) -> None:
    remember_facts(lexical_world)
    result = lexical_world.pipeline().run_until_idle()
    assert (result.searchable, result.provider_calls) == (3, 0)
    hits = lexical_world.memory.of("a").recall("coin flips")
    assert contents(hits) == [FACTS[0]]
    assert set(hits[0].why.retrievers) == {"keyword"}


def test_an_identifier_is_found_whole(world: World) -> None:
    remember_facts(world)
    assert contents(world.memory.of("a").recall("0xAB12CD"))[:1] == [FACTS[2]]
    world.pipeline().run_until_idle()
    assert contents(world.memory.of("a").recall("0xAB12CD"))[:1] == [FACTS[2]]


@pytest.mark.parametrize("embedded", [False, True])
def test_another_agents_memories_stay_unseen(world: World, embedded: bool) -> None:
    remember_facts(world, "a")
    world.memory.of("b").remember("nothing of interest")
    if embedded:
        world.pipeline().run_until_idle()
    for query in FACTS:
        assert set(contents(world.memory.of("b").recall(query))) <= {"nothing of interest"}


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("query", ["", "   ", "the of and", "???"])
def test_a_query_without_words_finds_nothing(lexical_world: World, query: str, embedded: bool) -> None:
    remember_facts(lexical_world)
    if embedded:
        lexical_world.pipeline().run_until_idle()
    assert lexical_world.memory.of("a").recall(query) == []


def test_a_query_that_matches_nothing_finds_nothing(lexical_world: World) -> None:
    remember_facts(lexical_world)
    lexical_world.pipeline().run_until_idle()
    assert lexical_world.memory.of("a").recall("zeppelin") == []


def test_punctuation_does_not_hide_a_word(lexical_world: World) -> None:
    lexical_world.memory.of("a").remember('We moved the "stop-loss".')
    assert contents(lexical_world.memory.of("a").recall("stop-loss")) == ['We moved the "stop-loss".']
    lexical_world.pipeline().run_until_idle()
    assert contents(lexical_world.memory.of("a").recall("stop-loss")) == ['We moved the "stop-loss".']


def test_turns_are_found_by_speaker_and_date(lexical_world: World) -> None:
    at = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    turn = NewMemory(
        agent_id="a", content="I ran a race", kind="turn", speaker="Melanie", at=at, session="s", source="1"
    )
    lexical_world.memory.remember_many([turn, NewMemory(agent_id="a", content="I ran a business")])
    for _ in range(2):
        hits = lexical_world.memory.of("a").recall("what did Melanie run")
        assert hits[0].content == "I ran a race"
        assert hits[0].speaker == "Melanie"
        lexical_world.pipeline().run_until_idle()
    assert contents(lexical_world.memory.of("a").recall("in May 2023"))[0] == "I ran a race"


@pytest.mark.parametrize("embedded", [False, True])
def test_filters_hold_in_every_arm(world: World, embedded: bool) -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    world.memory.of("a").remember("bet early", kind="event", at=early)
    world.memory.of("a").remember("bet late", kind="event", at=late)
    world.memory.of("a").remember("bet lesson", kind="lesson", at=late)
    if embedded:
        world.pipeline().run_until_idle()
    assert contents(world.memory.of("a").recall("bet", kind="lesson")) == ["bet lesson"]
    assert set(contents(world.memory.of("a").recall("bet", since=late))) == {"bet late", "bet lesson"}
    assert contents(world.memory.of("a").recall("bet", until=late)) == ["bet early"]
    assert world.memory.of("a").recall("bet", session="none") == []


def test_an_index_that_is_down_is_named_and_the_store_answers(unplugged: World) -> None:
    remember_facts(unplugged)
    hits = unplugged.memory.of("a").recall("coin flip")
    assert contents(hits) == [FACTS[0]]
    assert hits.retrievers == ("keyword_store",)
    assert hits.degraded is not None
    assert "durable store alone" in hits.degraded


def test_a_provider_that_is_down_is_named_and_words_answer(world: World) -> None:
    remember_facts(world)
    world.pipeline().run_until_idle()
    world.embedder.answers = [ProviderTransient("no answer")]
    hits = world.memory.of("a").recall("coin flip")
    assert contents(hits) == [FACTS[0]]
    assert hits.retrievers == ("keyword", "keyword_store")
    assert hits.degraded == "searched by words alone: no answer"


def test_limits_are_checked(world: World) -> None:
    with pytest.raises(InvalidInput):
        world.memory.of("a").recall("x", limit=0)
    with pytest.raises(TooLarge):
        world.memory.of("a").recall("x" * 300_000)


def test_hybrid_search_is_the_same_search(world: World) -> None:
    remember_facts(world)
    hybrid = HybridMemory(world.memory)
    assert contents(hybrid.search("a", "coin", top_k=1)) == [FACTS[0]]


def test_an_amount_is_found_however_it_is_grouped(lexical_world: World) -> None:
    lexical_world.memory.of("a").remember("paid 1,234.56 to the escrow")
    assert contents(lexical_world.memory.of("a").recall("1234.56")) == ["paid 1,234.56 to the escrow"]


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("query", ["0xAB12cd", "what about 1234.5?", "the USDC one", "tx_9F8a33", "INV-2024-001"])
def test_identifiers_come_before_all_words(world: World, query: str, embedded: bool) -> None:
    texts = {
        "0xAB12cd": "released by 0xab12cd",
        "what about 1234.5?": "paid 1,234.50",
        "the USDC one": "we moved USDC",
        "tx_9F8a33": "confirmed tx_9f8a33 late",
        "INV-2024-001": "billed as inv-2024-001",
    }
    world.memory.remember_many([NewMemory(agent_id="a", content=text) for text in texts.values()])
    for noise in (
        "what about the one of 2024, 001 and inv?",
        "0xab12cde paid 12345",
        "tx_9f8a331 and USD the one about",
    ):
        world.memory.of("a").remember(noise)
    if embedded:
        world.pipeline().run_until_idle()
    best = world.memory.of("a").recall(query)[0]
    assert best.content == texts[query]
    assert best.why.retrievers["exact"].score == 1.0


PAYMENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("paid the casino", {"asset": "USDC", "amount": Decimal("2.50")}),
    ("paid the bank", {"asset": "ETH", "legs": ["bank", "fee"]}),
    ("paid the faucet", {}),
)


@pytest.mark.parametrize("embedded", [False, True])
def test_metadata_can_be_asked_for(lexical_world: World, embedded: bool) -> None:
    for text, metadata in PAYMENTS:
        lexical_world.memory.of("a").remember(text, metadata=metadata)
    if embedded:
        lexical_world.pipeline().run_until_idle()

    def found(**where: Any) -> set[str]:
        return set(contents(lexical_world.memory.of("a").recall("paid", where=where)))

    assert found(asset="USDC") == {"paid the casino"}
    assert found(asset=["USDC", "ETH"]) == {"paid the casino", "paid the bank"}
    assert found(amount=Decimal("2.5"), asset="USDC") == {"paid the casino"}
    assert found(legs="fee") == {"paid the bank"}
    assert found(asset="SOL") == set()
    assert len(found()) == 3


@pytest.mark.parametrize("embedded", [False, True])
def test_several_kinds_can_be_asked_for(lexical_world: World, embedded: bool) -> None:
    for kind in ("fact", "lesson", "event"):
        lexical_world.memory.of("a").remember(f"bet {kind}", kind=kind)
    if embedded:
        lexical_world.pipeline().run_until_idle()
    assert set(contents(lexical_world.memory.of("a").recall("bet", kind=["fact", "event"]))) == {
        "bet fact",
        "bet event",
    }


def test_age_counts_only_when_asked(lexical_world: World) -> None:
    now = datetime.now(UTC)
    lexical_world.memory.of("a").remember("bet bet bet", at=now - timedelta(days=100))
    lexical_world.memory.of("a").remember("a bet in passing among other things", at=now - timedelta(days=1))
    lexical_world.pipeline().run_until_idle()
    assert contents(lexical_world.memory.of("a").recall("bet"))[0] == "bet bet bet"
    hits = lexical_world.memory.of("a").recall("bet", half_life=timedelta(days=10), limit=1)
    assert contents(hits) == ["a bet in passing among other things"]
    assert hits[0].why.freshness == pytest.approx(2**-0.1, rel=0.01)


def turns(*texts: str, session: str = "s", minutes: int = 1) -> list[NewMemory]:
    begin = datetime(2026, 5, 8, 12, tzinfo=UTC)
    return [
        NewMemory(
            agent_id="a",
            content=text,
            kind="turn",
            speaker="Mel" if number % 2 else "Cara",
            session=session,
            source=str(number),
            turn=number,
            at=begin + timedelta(minutes=minutes * number),
        )
        for number, text in enumerate(texts, start=1)
    ]


TALK = ("Hello there", "How long have you painted landscapes?", "Since 2016.", "Wow, great.", "Bye now")


def test_an_answer_is_found_by_its_question(lexical_world: World) -> None:
    lexical_world.memory.remember_many(turns(*TALK))
    lexical_world.pipeline().run_until_idle()
    hits = lexical_world.memory.of("a").recall("painting landscapes", limit=2)
    assert set(contents(hits)) == {TALK[1], TALK[2]}


def test_after_a_pause_a_turn_stands_alone(lexical_world: World) -> None:
    lexical_world.memory.remember_many(turns(*TALK, minutes=90))
    lexical_world.pipeline().run_until_idle()
    assert contents(lexical_world.memory.of("a").recall("landscapes")) == [TALK[1]]


def test_a_forgotten_turn_leaves_the_turns_after_it(lexical_world: World) -> None:
    lexical_world.memory.remember_many(turns(*TALK))
    lexical_world.pipeline().run_until_idle()
    found = lexical_world.memory.of("a").recall("landscapes")
    assert set(contents(found)) == set(TALK[1:])
    lexical_world.memory.forgetting.forget_memory("a", found[0].id)
    lexical_world.pipeline().run_until_idle()
    assert lexical_world.memory.of("a").recall("landscapes") == []


def test_neighbours_come_on_request(lexical_world: World) -> None:
    lexical_world.memory.remember_many([*turns(*TALK), *turns("Another talk", "about paint", session="t")])
    lexical_world.memory.of("a").remember("a fact about landscapes")
    lexical_world.pipeline().run_until_idle()
    hits = {hit.content: hit for hit in lexical_world.memory.of("a").recall("landscapes", neighbours=2)}
    asked = hits[TALK[1]]
    assert [(turn.turn, turn.content) for turn in asked.before] == [(1, TALK[0])]
    assert [turn.content for turn in asked.after] == [TALK[2], TALK[3]]
    assert hits["a fact about landscapes"].before == hits["a fact about landscapes"].after == ()
    assert lexical_world.memory.of("a").recall("landscapes")[0].after == ()


def test_a_memory_in_another_vector_space_is_found_by_words(world: World) -> None:
    remember_facts(world)
    world.pipeline().run_until_idle()
    other = MemoryIndex(lambda: world.index.collections.client, Space(f"{world.index.space}-other"))
    hits = MemoryService(world.store, world.jobs, other, world.embedder, world.settings).of("a").recall("coin flip")
    assert contents(hits) == [FACTS[0]]
    assert hits[0].why.retrievers.keys() == {"keyword_store"}


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"neighbours": 21},
        {"neighbours": -1},
        {"half_life": timedelta()},
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"where": {"k": 1.5}},
        {"kind": ["a b"]},
    ],
)
def test_a_filter_that_says_nothing_is_refused(lexical_world: World, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        lexical_world.memory.of("a").recall("x", **options)


LOOKALIKES = (
    "Payment 0xab12ce arrived.",
    "ORD-12346 is shipped",
    "Bob paid 1,234.50 USDC",
    "請求書INV-2026-104を送付した",
)
NAMED = (("0xab12cd", "Payment 0xab12cd arrived."), ("ORD-12345", "ORD-12345 is shipped"),
         ("1.234,60 USDC", "Bob paid 1,234.60 USDC"), ("INV-2026-103", "請求書INV-2026-103を送付した"))  # fmt: skip


def test_a_memory_about_another_identifier_is_no_answer_wherever_it_is_searched(world: World) -> None:
    memory = world.memory.of("a")
    for content in LOOKALIKES:
        memory.remember(content)
    for _ in ("fresh", "indexed", "without the index"):
        assert [contents(memory.recall(query)) for query, _ in NAMED] == [[]] * len(NAMED)
        world.pipeline().run_until_idle()
    for _, content in NAMED:
        memory.remember(content)
    for _ in ("fresh", "indexed"):
        assert [contents(memory.recall(query)) for query, _ in NAMED] == [[content] for _, content in NAMED]
        world.pipeline().run_until_idle()
    index = world.index
    with closing(open_qdrant("http://127.0.0.1:9")) as nowhere:
        world.index = MemoryIndex(nowhere, world.embedder.space)
        alone = world.memory.of("a")
        assert [contents(alone.recall(query)) for query, _ in NAMED] == [[content] for _, content in NAMED]
    world.index = index


def test_scripts_without_spaces_are_found_among_their_like(lexical_world: World) -> None:
    memory = lexical_world.memory.of("a")
    notes = [
        "花粉症の薬を買った",
        "卵アレルギーがある",
        "アレクサを買った",
        "客户昨天要求退款三百元",
        "客户昨天很满意",
        "어제 결제했습니다",
        "어제 취소했습니다",
    ]
    memory.remember_many([NewMemory(content=note) for note in notes])
    for _ in ("fresh", "indexed"):
        for query, note in (("アレルギー", notes[1]), ("退款", notes[3]), ("결제", notes[5])):
            assert contents(memory.recall(query))[0] == note
        lexical_world.pipeline().run_until_idle()


def test_an_answer_counts_that_names_the_identifier_in_the_turn_before(lexical_world: World) -> None:
    said = ["Where is ORD-12345?", "It ships on Monday.", "And ORD-12346?", "ORD-12346 was lost."]
    items = [
        NewMemory(
            content=text,
            kind="turn",
            session="s",
            turn=number,
            source=f"t{number}",
            at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        for number, text in enumerate(said, 1)
    ]
    lexical_world.memory.of("a").remember_many(items)
    lexical_world.pipeline().run_until_idle()
    assert set(contents(lexical_world.memory.of("a").recall("ORD-12345"))) == {said[0], said[1]}
