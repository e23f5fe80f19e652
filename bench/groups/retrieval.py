"""Does recall find the turn that answers? Questions asked of the running stack, over sets of different shape.

LoCoMo, long talks of two people in short turns, with and without a model; and generated chats with an assistant whose
answers are long (`bench.long_answers`), on which no constant was chosen, beside plain BM25 over the same stems.

Turns go the whole way (file, durable store, worker, index); questions go through `agent.memory.recall`. A question's
score is the share of its evidence among the first turns; no neighbours are counted. The two controls are what the guide
describes: BM25 over words cut at spaces, and reciprocal rank fusion of that with the nearest vectors, each list of 20.

The constants of the ranking were chosen on the conversations named in `CHOSEN_ON`; the others were looked at once.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from uuid import UUID

from agentstate.agent import Fleet
from agentstate.memory.facts.counts import MemoryCounts, count_memories
from agentstate.memory.ingest import locomo
from agentstate.memory.ingest.ingest import Ingest
from agentstate.memory.ingest.transcripts import read_transcript
from agentstate.memory.search.filters import Scope
from agentstate.memory.search.fusion import DENSE
from agentstate.memory.search.terms import split_terms
from agentstate.providers.embedding.minilm import find_model
from agentstate.runtime import Runtime
from bench.long_answers import make_chats
from bench.stack import BenchStack, make_settings_for
from deploy.local.stack.results import Row, at_least
from deploy.local.stack.stack import Stack

CHOSEN_ON = ("conv-26", "conv-41", "conv-43", "conv-47", "conv-49")
CATEGORIES = (1, 2, 3, 4)
"""Multi-hop, temporal, open and single-hop questions; the fifth kind asks for what was never said."""
PARTS = ("redis", "postgres", "qdrant", "migrate", "worker-io")
BARS = {"lexical": 0.755, "minilm": 0.765}
NAMES = {"lexical": "no model", "minilm": "MiniLM"}
DEEPEST = 20
MARGIN = 0.02
"""How far recall is above plain BM25 where turns answer each other."""
_TURN = re.compile(r"D:?(\d+):(\d+)")

Finder = Callable[["Question"], list[str]]


@dataclass(frozen=True)
class Question:
    """A question about one conversation, and the ids of the turns that answer it."""

    conversation: str
    text: str
    evidence: frozenset[str]


Answered = tuple[Question, list[str]]
"""A question and the turns that were found, best first."""


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """Recall at 10 and at 5 without a model and with one, each beside the guide's way."""
    files = sorted((bench.data / "locomo").glob("*.json"))
    if not files:
        yield Row("LoCoMo: not measured", f"no *.json in {bench.data / 'locomo'}; give another folder with --data")
        yield from _measure_long_answers(bench)
        return
    samples = [sample for file in files for sample in json.loads(file.read_text("utf-8"))][
        : bench.choose_size(10_000, 2)
    ]
    kinds = ["lexical", "minilm"] if find_model() else ["lexical"]
    for kind in kinds:
        folder = bench.folder / f"locomo-{kind}"
        with Stack(folder, only=PARTS, settings={"embedder": kind}) as stack:
            runtime = Runtime(make_settings_for(stack, embedder=kind))
            try:
                bench.report(f"LoCoMo, {NAMES[kind]}: {_ingest_samples(runtime, folder / 'turns.json', samples)}")
                yield from _ask_questions(runtime, kind, samples)
            finally:
                runtime.close()
    yield from _measure_long_answers(bench)
    if len(kinds) == 1:
        yield Row("LoCoMo with MiniLM: not measured", "the model files are not installed")


def _measure_long_answers(bench: BenchStack) -> Iterator[Row]:
    """Recall in chats with long answers, beside plain BM25 over the same stems."""
    turns, asked = make_chats(seed=1, agents=bench.choose_size(6, 2))
    folder = bench.folder / "long-answers"
    with Stack(folder, only=PARTS, settings={"embedder": "lexical"}) as stack:
        runtime = Runtime(make_settings_for(stack, embedder="lexical"))
        try:
            bench.report(f"long answers: {_ingest_samples(runtime, folder / 'turns.json', turns)}")
            names = sorted({one.agent for one in asked})
            plain = {
                agent: Bm25({turn["id"]: turn["text"] for turn in turns if turn["agent"] == agent}, split_terms)
                for agent in names
            }
            for kind, part in (
                ("all", asked),
                ("answers that stand alone", [one for one in asked if one.stands_alone]),
            ):
                questions = [Question(one.agent, one.text, one.evidence) for one in part]
                ours = _mean_recall(_answer_all(questions, lambda question: _recall_turns(runtime, question)), 10)
                theirs = _answer_all(questions, lambda question: plain[question.conversation].rank_turns(question.text))
                reference = _mean_recall(theirs, 10)
                bar = reference + (MARGIN if kind == "all" else 0)
                name = f"long answers, no model: R@10, {kind}"
                yield at_least(name, ours, bar, reference=f"plain BM25 {reference:.3f}, {len(part)} questions")
        finally:
            runtime.close()


def _ingest_samples(runtime: Runtime, path: Path, samples: Sequence[dict[str, object]]) -> str:
    """Store the turns and wait until a worker has made all searchable; tells how long that took."""
    path.write_text(json.dumps(samples), "utf-8")
    began = time.monotonic()
    ingest = Ingest(runtime.store, runtime.jobs, runtime.memory, runtime.settings)
    report = ingest.store_turns(read_transcript(path, runtime.settings))
    assert not report.refused, report.refused[:3]
    while sum(count.searchable for count in _count_memories(runtime)) < report.stored:
        assert not any(count.dead for count in _count_memories(runtime)), "a worker gave memories up"
        time.sleep(0.2)
    return f"{report.stored} turns stored and searchable after {time.monotonic() - began:.0f} s"


def _count_memories(runtime: Runtime) -> list[MemoryCounts]:
    with runtime.store.read_connection() as connection:
        return count_memories(connection)


def _ask_questions(runtime: Runtime, kind: str, samples: Sequence[dict[str, object]]) -> Iterator[Row]:
    questions = [question for sample in samples for question in _read_questions(sample)]
    name, place = f"LoCoMo, {NAMES[kind]}", {sample["sample_id"]: sample for sample in samples}
    ours = _answer_all(questions, lambda question: _recall_turns(runtime, question))
    controls = {"guide's BM25": _make_bm25_finder(place)}
    if kind != "lexical":
        controls["guide's RRF"] = _make_hybrid_finder(runtime, controls["guide's BM25"])
    theirs = {control: _answer_all(questions, finder) for control, finder in controls.items()}
    reference = {
        depth: ", ".join(f"{control} {_mean_recall(scores, depth):.3f}" for control, scores in theirs.items())
        for depth in (5, 10)
    }
    yield at_least(f"{name}: R@10, categories 1-4", _mean_recall(ours, 10), BARS[kind], reference=reference[10])
    yield Row(f"{name}: R@5", _mean_recall(ours, 5), reference=reference[5])
    for half, wanted in (("chosen on", True), ("held out", False)):
        part = [(one, found) for one, found in ours if (one.conversation in CHOSEN_ON) is wanted]
        if part:
            said = f"{len(part)} of {len(questions)} questions"
            yield Row(f"{name}: R@10, conversations {half}", _mean_recall(part, 10), reference=said)


def _recall_turns(runtime: Runtime, question: Question) -> list[str]:
    hits = Fleet(runtime).agent(question.conversation).memory.recall(question.text, limit=10)
    return [hit.source or "" for hit in hits]


def _answer_all(questions: Sequence[Question], finder: Finder) -> list[Answered]:
    return [(question, finder(question)[:10]) for question in questions]


def _mean_recall(found: Sequence[Answered], depth: int) -> float:
    shares = (len(one.evidence.intersection(turns[:depth])) / len(one.evidence) for one, turns in found)
    return round(fmean(shares), 4)


def _read_questions(sample: dict[str, object]) -> Iterator[Question]:
    turns = {fields["id"] for _, fields in locomo.read_turns(sample)}
    asked: list[dict[str, object]] = sample.get("qa", [])  # type: ignore[assignment] # JSON
    for one in asked:
        named = " ".join(map(str, one.get("evidence") or []))  # type: ignore[call-overload] # JSON
        evidence = {f"D{int(part)}:{int(turn)}" for part, turn in _TURN.findall(named)} & turns
        if evidence and one["category"] in CATEGORIES:
            yield Question(str(sample["sample_id"]), str(one["question"]), frozenset(evidence))


def _make_bm25_finder(samples: Mapping[object, dict[str, object]]) -> Finder:
    """The guide's keyword half: words cut at spaces, k1 1.5, b 0.75, one corpus a conversation."""
    made: dict[str, Bm25] = {}

    def find(question: Question) -> list[str]:
        if question.conversation not in made:
            turns = locomo.read_turns(samples[question.conversation])
            texts = {str(fields["id"]): f"{fields['speaker']}: {fields['text']}" for _, fields in turns}
            made[question.conversation] = Bm25(texts, lambda text: text.lower().split())
        return made[question.conversation].rank_turns(question.text)

    return find


class Bm25:
    """Okapi BM25 over texts by id; a word that most texts have counts a quarter of the mean, not less than nothing."""

    def __init__(self, texts: Mapping[str, str], split: Callable[[str], list[str]]) -> None:
        self._ids, self._split = list(texts), split
        words_of = [split(text) for text in texts.values()]
        self._counts = [Counter(words) for words in words_of]
        mean = fmean(len(words) for words in words_of)
        self._lengths = [1.5 * (0.25 + 0.75 * len(words) / mean) for words in words_of]
        holding = Counter(word for words in self._counts for word in words)
        rarity = {word: math.log((len(texts) - n + 0.5) / (n + 0.5)) for word, n in holding.items()}
        common = 0.25 * fmean(rarity.values())
        self._rarity = {word: value if value >= 0 else common for word, value in rarity.items()}

    def rank_turns(self, query: str) -> list[str]:
        """The ids of the best 20, best first."""
        words = [word for word in self._split(query) if word in self._rarity]
        scores = [
            sum(self._rarity[word] * count[word] * 2.5 / (count[word] + length) for word in words)
            for count, length in zip(self._counts, self._lengths, strict=True)
        ]
        order = sorted(range(len(scores)), key=lambda position: -scores[position])
        return [self._ids[position] for position in order[:DEEPEST]]


def _make_hybrid_finder(runtime: Runtime, bm25: Finder) -> Finder:
    """The guide's fusion: ranks of both halves, k = 60. The vectors are the very ones that recall uses."""
    sources: dict[str, str] = {}

    def find(question: Question) -> list[str]:
        vector = runtime.embedder.embed_query(question.text).tolist()
        scope = Scope(agent_id=question.conversation)
        nearest = runtime.index.search(scope, text="", vector=vector, limit=DEEPEST).found[DENSE]
        for memory, _ in nearest:
            if memory not in sources:
                record = runtime.memory.of(question.conversation).find(UUID(memory))
                sources[memory] = (record.source if record else None) or ""
        ranks: dict[str, float] = {}
        for half in ([sources[memory] for memory, _ in nearest], bm25(question)):
            for rank, turn in enumerate(half, start=1):
                ranks[turn] = ranks.get(turn, 0.0) + 1 / (60 + rank)
        return sorted(ranks, key=lambda turn: -ranks[turn])

    return find
