"""Chats of a user with an assistant that answers at length: generated, seeded, with the turns that answer questions.

What makes them hard is what such chats are like: an answer has ten times the words of a question, goes over words of
other subjects, and what the user says right after it is short and about something else. A third of the questions ask
for a fact inside a long answer, a third for a short remark of the user, a third for a short answer to a short question.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

AGENTS, EXCHANGES = 6, 60
SUBJECTS_OF_ONE: Final = 5
"""Subjects of one chat: each comes back a dozen times."""
SESSION: Final = "chat"

_SUBJECTS: Final = {
    "sourdough": "starter flour hydration crust oven crumb proofing levain salt banneton scoring steam",
    "greyhound": "leash kennel muzzle sprint vet kibble collar harness breeder coat racing vaccine",
    "mortgage": "lender escrow deposit valuation broker principal term refinance solicitor equity fixed bank",
    "marathon": "pace stride interval taper mileage shoe blister hydration finish tempo lactate cadence",
    "allotment": "compost seedling slug trellis mulch soil nettle spade greenhouse frost harvest bed",
    "violin": "bow rosin string fingerboard vibrato scale orchestra peg luthier bridge etude tuning",
    "kayak": "paddle rapid hull spray current portage roll drybag tide estuary eddy skeg",
    "telescope": "mirror aperture eyepiece nebula tripod mount focus planet darkness filter crater finder",
    "insulin": "glucose pump dose pancreas meal monitor needle carbohydrate fasting clinic syringe strip",
    "passport": "visa embassy photo border renewal stamp consulate form fingerprint queue courier birth",
    "beehive": "queen swarm frame honey smoker brood veil nectar mite wax drone colony",
    "espresso": "grinder tamper portafilter crema bean roast boiler milk basket shot dial pressure",
    "drone": "propeller gimbal battery licence altitude footage controller wind sensor drift pilot geofence",
    "pension": "annuity contribution employer fund retirement allowance statement transfer provider pot tax trustee",
    "aquarium": "filter tetra nitrate gravel heater plant algae siphon tank shrimp ammonia light",
    "pottery": "kiln glaze wheel clay bisque slip handle firing stoneware porcelain throwing trimming",
    "chess": "opening bishop endgame clock rating tactic pawn sacrifice tournament gambit castle blunder",
    "solar": "inverter panel roof kilowatt meter tariff shade battery installer export grid string",
    "knitting": "yarn needle gauge purl cable sweater sleeve pattern skein stitch cuff ribbing",
    "podcast": "microphone episode editing guest intro feed jingle noise transcript sponsor hosting listener",
}  # fmt: skip
_PLAIN: Final = (
    "It helps to remember that the {a} and the {b} depend on each other, so change one of them at a time.",
    "Most people begin with the {a}, look at the {b} for a week, and only then think about the {c}.",
    "If the {a} worries you, compare it with the {b}; a good {c} makes both easier to live with.",
    "There are three things to watch here: the {a}, the {b}, and above all the {c}.",
    "A common mistake is to blame the {a} when the {b} is the cause and the {c} only shows it.",
    "You can save money on the {a}, but I would not save on the {b}, and hardly on the {c}.",
    "Keep a note of the {a} each day; after some days the {b} and the {c} tell you more than any guide.",
    "Ask somebody who has done it before about the {a}, and let them show you the {b}.",
)
_FACTS: Final = (
    (
        "For the {a} of your {subject} I would go with {value} and no more.",
        "What did you advise for the {a} of my {subject}?",
    ),
    (
        "Check the {a} with {value} before you use the {subject} again.",
        "What should I check the {a} of the {subject} with?",
    ),
)
_REMARKS: Final = (
    ("I gave the {subject} {a} to {name} yesterday.", "To whom did I give the {subject} {a}?"),
    ("By the way, {name} broke my {subject} {a}.", "Who broke my {subject} {a}?"),
)
_ASKED: Final = (
    ("Who looks after the {subject} {a}?", "{name} does, on weekdays.", "Who looks after the {subject} {a}?"),
    ("Where do you keep the {subject} {a}?", "In {place}, behind the boxes.", "Where do I keep the {subject} {a}?"),
)
_NAMES: Final = (
    "Ada",
    "Bruno",
    "Chiara",
    "Dmitri",
    "Esther",
    "Farid",
    "Greta",
    "Hiro",
    "Ines",
    "Jonas",
    "Kofi",
    "Lena",
)
_PLACES: Final = ("the cellar", "the garage", "the attic", "the hallway", "the shed", "the office")
_VALUES: Final = ("the cheap kind", "a second pair", "half of it", "a slow one", "the old model", "a wooden one")


@dataclass(frozen=True)
class GeneratedQuestion:
    """A question about one chat, and the ids of the turns that answer it."""

    agent: str
    text: str
    evidence: frozenset[str]
    stands_alone: bool
    """Whether the evidence has the words of the question itself, not only the turn before it."""


def make_chats(*, seed: int, agents: int = AGENTS) -> tuple[list[dict[str, Any]], list[GeneratedQuestion]]:
    """Return the turns, as in any transcript, and the questions; the same ones for the same seed."""
    turns: list[dict[str, Any]] = []
    questions: list[GeneratedQuestion] = []
    for number in range(agents):
        draw = random.Random(f"long answers:{seed}:{number}")  # noqa: S311 texts, not secrets
        turns.extend(_make_chat(f"chat-{number}", draw, questions))
    return turns, questions


def _make_chat(agent: str, draw: random.Random, questions: list[GeneratedQuestion]) -> Iterator[dict[str, Any]]:
    words = {subject: _SUBJECTS[subject].split() for subject in draw.sample(sorted(_SUBJECTS), SUBJECTS_OF_ONE)}
    every_word = [word for listed in words.values() for word in listed]
    at, count = datetime(2026, 1, 5, 9, tzinfo=UTC), 0
    asked: set[tuple[str, str]] = set()

    def say(role: str, text: str) -> dict[str, Any]:
        nonlocal at, count
        at, count = at + timedelta(minutes=1), count + 1
        return {
            "agent": agent, "session": SESSION, "id": f"t{count}", "role": role, "text": text, "time": at.isoformat(),
        }  # fmt: skip

    def ask(text: str, *, stands_alone: bool = True) -> None:
        questions.append(GeneratedQuestion(agent, text, frozenset({f"t{count}"}), stands_alone))

    for _ in range(EXCHANGES):
        subject = draw.choice(list(words))
        a = draw.choice(words[subject])
        is_new = (subject, a) not in asked
        asked.add((subject, a))
        named = {"subject": subject, "a": a, "name": draw.choice(_NAMES), "place": draw.choice(_PLACES)}
        kind = draw.randrange(3)
        yield say(
            "user", f"I have a question about my {subject}: what do I do about the {draw.choice(words[subject])}?"
        )
        sentences = []
        for _ in range(draw.randint(20, 40)):
            picked = [draw.choice(words[subject] if draw.random() < 0.5 else every_word) for _ in range(3)]  # noqa: PLR2004
            sentences.append(draw.choice(_PLAIN).format(**dict(zip("abc", picked, strict=True))))
        told, fact_question = draw.choice(_FACTS)
        if kind == 0:
            sentences.insert(draw.randrange(len(sentences)), told.format(**named, value=draw.choice(_VALUES)))
        yield say("assistant", " ".join(sentences))
        if kind == 0 and is_new:
            ask(fact_question.format(**named))
        other = draw.choice([each for each in words if each != subject])
        named |= {"subject": other, "a": draw.choice(words[other])}
        is_new = (other, named["a"]) not in asked
        asked.add((other, named["a"]))
        if kind == 1:
            told, question = draw.choice(_REMARKS)
            yield say("user", told.format(**named))
            if is_new:
                ask(question.format(**named))
            yield say("assistant", "I made a note of it.")
        elif kind == 2:  # noqa: PLR2004
            wanted, answer, question = draw.choice(_ASKED)
            yield say("assistant", wanted.format(**named))
            yield say("user", answer.format(**named))
            if is_new:
                ask(question.format(**named), stands_alone=False)
