"""Samples of text: sentences in many languages, and generated kinds such as JSON, Markdown, ids and code."""

from __future__ import annotations

import base64
import json
import random
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

ENGLISH: Final = (
    "The transfer was confirmed after three blocks, and the escrow released the rest this morning.",
    "Please keep the daily limit where it is until the quarterly review has been published.",
    "I never agreed to that price; the quote you sent on Tuesday expired at noon.",
    "Volatility was higher than usual, so the strategy reduced its exposure and waited.",
    "We learnt that flat stakes survive a losing streak much better than doubling up.",
    "Her wallet holds enough for the deposit, but the registrar has not answered yet.",
    "Could you look into the missing payment before the market opens again?",
    "Nothing else was unusual about the weekend, apart from slow confirmations on Sunday.",
    "The counterparty asked for another extension and promised to settle within a fortnight.",
    "An honest summary mentions what is unknown instead of guessing at a balance.",
    "Funding rates turned negative, which made holding the position cheaper than expected.",
    "Remember that withdrawals need a second approval when they are larger than the weekly average.",
)
"""Plain English about money."""

OTHERS: Final[dict[str, tuple[str, ...]]] = {
    "german": (
        "Die Überweisung wurde bestätigt, aber der Restbetrag liegt noch beim Treuhänder.",
        "Bitte erhöhen Sie das Tageslimit erst nach der vierteljährlichen Überprüfung.",
        "Wir haben gelernt, dass gleichbleibende Einsätze Verlustserien besser überstehen.",
        "Könnten Sie die fehlende Zahlung vor Börsenöffnung nachprüfen?",
    ),
    "french": (
        "Le virement a été confirmé hier soir, mais le séquestre n'a pas encore libéré le solde.",
        "Merci de ne pas relever la limite quotidienne avant la révision trimestrielle.",
        "Nous avons appris que des mises égales résistent mieux aux séries de pertes.",
        "Pourriez-vous vérifier le paiement manquant avant l'ouverture du marché ?",
    ),
    "spanish": (
        "La transferencia se confirmó anoche, pero el depósito en garantía aún no se ha liberado.",
        "Por favor, no aumente el límite diario hasta que termine la revisión trimestral.",
        "Aprendimos que las apuestas iguales sobreviven mejor a una mala racha.",
        "¿Podría comprobar el pago que falta antes de que abra el mercado?",
    ),
    "turkish": (
        "Havale dün akşam onaylandı, ancak emanet hesabı kalan tutarı henüz serbest bırakmadı.",
        "Lütfen günlük sınırı üç aylık inceleme bitmeden yükseltmeyin.",
        "Eşit bahislerin kayıp serilerine daha iyi dayandığını öğrendik.",
        "Piyasa açılmadan önce eksik ödemeyi kontrol edebilir misiniz?",
    ),
    "polish": (
        "Przelew został potwierdzony wczoraj wieczorem, ale depozyt nie został jeszcze zwolniony.",
        "Proszę nie podnosić dziennego limitu przed kwartalnym przeglądem.",
        "Nauczyliśmy się, że równe stawki lepiej znoszą serię strat.",
        "Czy możesz sprawdzić brakującą płatność przed otwarciem giełdy?",
    ),
    "vietnamese": (
        "Khoản chuyển tiền đã được xác nhận tối qua nhưng tiền ký quỹ vẫn chưa được giải phóng.",
        "Vui lòng không nâng hạn mức hằng ngày trước khi kết thúc đợt rà soát quý.",
        "Chúng tôi nhận ra rằng mức cược đều chịu được chuỗi thua tốt hơn.",
        "Bạn có thể kiểm tra khoản thanh toán bị thiếu trước khi thị trường mở cửa không?",
    ),
    "russian": (
        "Перевод подтвердили вчера вечером, но эскроу ещё не отпустил остаток суммы.",
        "Пожалуйста, не повышайте дневной лимит до квартальной проверки.",
        "Мы поняли, что равные ставки лучше переживают полосу проигрышей.",
        "Проверьте, пожалуйста, недостающий платёж до открытия рынка.",
    ),
    "ukrainian": (
        "Переказ підтвердили вчора ввечері, але ескроу ще не відпустив решту суми.",
        "Будь ласка, не підвищуйте денний ліміт до квартальної перевірки.",
        "Ми зрозуміли, що рівні ставки краще витримують серію програшів.",
        "Чи можете ви перевірити відсутній платіж до відкриття ринку?",
    ),
    "greek": (
        "Η μεταφορά επιβεβαιώθηκε χθες το βράδυ, αλλά το υπόλοιπο παραμένει δεσμευμένο.",
        "Παρακαλώ μην αυξήσετε το ημερήσιο όριο πριν από την τριμηνιαία επανεξέταση.",
        "Μάθαμε ότι τα σταθερά ποσά αντέχουν καλύτερα σε μια σειρά από απώλειες.",
        "Μπορείτε να ελέγξετε την πληρωμή που λείπει πριν ανοίξει η αγορά;",
    ),
    "arabic": (
        "تم تأكيد التحويل مساء أمس، لكن حساب الضمان لم يفرج عن الرصيد المتبقي بعد.",
        "يرجى عدم رفع الحد اليومي قبل انتهاء المراجعة الفصلية.",
        "تعلمنا أن الرهانات المتساوية تصمد أمام سلسلة الخسائر بشكل أفضل.",
        "هل يمكنك التحقق من الدفعة المفقودة قبل افتتاح السوق؟",
    ),
    "hebrew": (
        "ההעברה אושרה אמש, אבל חשבון הנאמנות עדיין לא שחרר את היתרה.",
        "נא לא להעלות את התקרה היומית לפני הבדיקה הרבעונית.",
        "למדנו שהימורים שווים שורדים רצף הפסדים טוב יותר.",
        "האם תוכל לבדוק את התשלום החסר לפני פתיחת המסחר?",
    ),
    "hindi": (
        "स्थानांतरण की पुष्टि कल रात हो गई, लेकिन एस्क्रो ने बाकी राशि अभी तक जारी नहीं की है।",
        "कृपया तिमाही समीक्षा से पहले दैनिक सीमा न बढ़ाएँ।",
        "हमने सीखा कि बराबर दाँव लगातार हार को बेहतर झेलते हैं।",
        "क्या आप बाज़ार खुलने से पहले छूटे हुए भुगतान की जाँच कर सकते हैं?",
    ),
    "thai": (
        "การโอนเงินได้รับการยืนยันเมื่อคืนนี้ แต่บัญชีพักเงินยังไม่ปล่อยยอดคงเหลือ",
        "กรุณาอย่าเพิ่มวงเงินรายวันก่อนการทบทวนประจำไตรมาส",
        "เราเรียนรู้ว่าการเดิมพันเท่ากันทนต่อการแพ้ติดกันได้ดีกว่า",
        "ช่วยตรวจสอบการชำระเงินที่หายไปก่อนตลาดเปิดได้ไหม",
    ),
    "chinese": (
        "转账昨晚已经确认，但是托管账户还没有释放余款。",
        "在季度审查结束之前，请不要提高每日限额。",
        "我们发现固定投注比加倍投注更能承受连续亏损。",
        "开市之前能否查一下那笔缺失的付款？",
    ),
    "japanese": (
        "送金は昨夜確認されましたが、エスクローの残額はまだ解放されていません。",
        "四半期の見直しが終わるまで、一日の上限を引き上げないでください。",
        "同じ額を賭け続けるほうが、連敗に耐えられると分かりました。",
        "市場が開く前に、届いていない支払いを調べてもらえますか。",
    ),
    "korean": (
        "송금은 어젯밤에 확인되었지만 에스크로가 아직 잔액을 풀어 주지 않았습니다.",
        "분기 검토가 끝나기 전에는 일일 한도를 올리지 마세요.",
        "같은 금액을 거는 편이 연패를 더 잘 견딘다는 것을 배웠습니다.",
        "장이 열리기 전에 누락된 결제를 확인해 주시겠어요?",
    ),
}
"""Sentences by language."""

EMOJI: Final = [
    "😀",
    "😂",
    "🙏",
    "👍",
    "🚀",
    "🔥",
    "💸",
    "💰",
    "📈",
    "📉",
    "✅",
    "❌",
    "⚠️",
    "👨\u200d👩\u200d👧",
    "🇪🇺",
    "👍🏽",
    "🤝",
    "🏦",
    "⏳",
    "❤️",
]


Make = Callable[[random.Random], Iterator[str]]
"""Pieces without end."""

LENGTHS: Final = (200, 800, 3_000)
"""Sizes of samples, in characters."""
SHARED_DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
"""The folder of public data sets, where there is one."""
CHAT: Final = Path("locomo/locomo10.json")
"""The chat within it."""
_SERVICES: Final = ("wallet", "casino", "trading", "domains", "faucet", "escrow")
_ASSETS: Final = ("USDC", "ETH", "BTC", "SOL", "USDT")
_MODULES: Final = ("argparse", "asyncio/base_events", "csv", "decimal", "http/client", "json/decoder", "logging/config",
                   "pathlib", "pickle", "queue", "socket", "sqlite3/dbapi2", "statistics", "subprocess", "tarfile",
                   "threading", "typing", "unittest/case", "uuid", "zipfile")  # fmt: skip
_SCRIPTS: Final = ((0x531, 0x556), (0x985, 0x9B9), (0xB85, 0xBB9), (0xC05, 0xC39), (0xE81, 0xEA3), (0x1000, 0x1049),
                   (0x10D0, 0x10FA), (0x1200, 0x1248), (0x1780, 0x17B3), (0xF40, 0xF6C), (0x250, 0x2AF))  # fmt: skip
_SYMBOLS: Final = ((0x2190, 0x21FF), (0x2200, 0x22FF), (0x2500, 0x257F), (0x2010, 0x2044), (0x20A0, 0x20BF),
                   (0x300, 0x36F), (0x01, 0x1F), (0x3001, 0x301F), (0xA1, 0xBF), (0x21, 0x2F))  # fmt: skip
_BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sample:
    """A text of one kind."""

    kind: str
    text: str


def make_samples(kind: str, make: Make, *, seed: int, each: int) -> Iterator[Sample]:
    """`each` samples of every length; the same ones for the same seed."""
    draw = random.Random(f"{kind}:{seed}")  # noqa: S311 texts, not secrets
    pieces = make(draw)
    for length in LENGTHS:
        for _ in range(each):
            text = ""
            while len(text) < length:
                text += next(pieces)
            yield Sample(kind, text[:length])


def cut_chunks(kind: str, text: str, *, draw: random.Random, each: int) -> Iterator[Sample]:
    """`each` pieces of every length from anywhere in a real text."""
    for length in LENGTHS:
        for _ in range(each):
            begin = draw.randrange(max(1, len(text) - length))
            yield Sample(kind, text[begin : begin + length])


def read_chat(path: Path) -> str:
    """The turns of the LoCoMo data set as one text."""
    turns = (
        f"{turn['speaker']}: {turn['text']}"
        for entry in json.loads(path.read_text("utf-8"))
        for name, session in entry["conversation"].items()
        if isinstance(session, list) and name.startswith("session")
        for turn in session
    )
    return "\n".join(turns)


def read_python_code() -> str:
    """Modules of the running Python's library as one text."""
    library = Path(sysconfig.get_paths()["stdlib"])
    return "\n".join(path.read_text("utf-8") for name in _MODULES if (path := library / f"{name}.py").exists())


MADE: Final[dict[str, Make]] = {}
"""The kinds that are made from a seed."""


def made_kind(kind: str) -> Callable[[Make], Make]:
    """Register a function that makes texts of one kind."""

    def register(make: Make) -> Make:
        MADE[kind] = make
        return make

    return register


def _draw_moment(draw: random.Random) -> str:
    return (_BEGIN + timedelta(seconds=draw.randrange(28_000_000), microseconds=draw.randrange(10**6))).isoformat()


def _draw_amount(draw: random.Random) -> str:
    sign = draw.choice(("", "-"))
    whole, cents = draw.randrange(10 ** draw.randint(1, 6)), draw.randrange(10 ** draw.randint(2, 6))
    return f"{sign}{whole}.{cents:02d}"


@made_kind("prose")
def _make_prose(draw: random.Random) -> Iterator[str]:
    while True:
        yield " ".join(draw.sample(ENGLISH, 4)) + draw.choice(("\n\n", " "))


@made_kind("markdown")
def _make_markdown(draw: random.Random) -> Iterator[str]:
    while True:
        yield f"## {draw.choice(ENGLISH).split(',')[0].rstrip('.')}\n\n| asset | amount | at |\n|---|---:|---|\n"
        for _ in range(draw.randint(2, 5)):
            yield f"| **{draw.choice(_ASSETS)}** | `{_draw_amount(draw)}` | {_draw_moment(draw)[:10]} |\n"
        todo = draw.choice(ENGLISH)
        link = f"https://example.com/{draw.choice(_SERVICES)}?id={draw.randrange(10**6)}"
        yield f"\n- [ ] {todo}\n- [x] see {link}\n\n"


@made_kind("JSON with ids")
def _make_json(draw: random.Random) -> Iterator[str]:
    while True:
        record = {
            "id": str(UUID(int=draw.getrandbits(128), version=4)),
            "service": draw.choice(_SERVICES),
            "type": draw.choice(("bet", "trade", "transfer", "escrow_open", "domain_renewal")),
            "amount": _draw_amount(draw),
            "currency": draw.choice(_ASSETS),
            "at": _draw_moment(draw),
            "tx_hash": f"0x{draw.getrandbits(256):064x}",
            "outcome": {"won": draw.random() < 0.5, "balance_after": _draw_amount(draw), "note": None},  # noqa: PLR2004
        }
        yield json.dumps(record, indent=draw.choice((None, None, 2))) + "\n"


@made_kind("ledger lines")
def _make_ledger(draw: random.Random) -> Iterator[str]:
    while True:
        service, asset = draw.choice(_SERVICES), draw.choice(_ASSETS)
        yield (
            f"{_draw_moment(draw)[:19]}Z {service}:{draw.choice(('bet', 'fee', 'deposit'))}-{draw.randrange(10**5)} "
            f"{_draw_amount(draw)} {asset} balance {_draw_amount(draw)} {asset}\n"
        )


@made_kind("identifiers")
def _make_identifiers(draw: random.Random) -> Iterator[str]:
    words = [word.strip(".,;?") for sentence in ENGLISH for word in sentence.split()]
    while True:
        some = [draw.choice(words) for _ in range(draw.randint(2, 4))]
        style = draw.choice(
            (
                lambda parts: "".join(map(str.capitalize, parts)),
                "_".join,
                "-".join,
                lambda parts: "_".join(parts).upper(),
            )
        )
        yield f"{style(some)}{draw.choice((' = ', ', ', '();', ': '))}{draw.choice((chr(10), ' '))}"


@made_kind("16 languages")
def _make_languages(draw: random.Random) -> Iterator[str]:
    while True:
        sentences = OTHERS[draw.choice(sorted(OTHERS))]
        yield " ".join(draw.sample(sentences, 3)) + "\n"


@made_kind("prose with emoji")
def _make_emoji(draw: random.Random) -> Iterator[str]:
    while True:
        yield f"{draw.choice(ENGLISH)} {''.join(draw.choices(EMOJI, k=draw.randint(1, 4)))} "


@made_kind("hex hashes")
def _make_hex(draw: random.Random) -> Iterator[str]:
    while True:
        digits = draw.choice((40, 64))
        yield f"{draw.choice(('0x', ''))}{draw.getrandbits(4 * digits):0{digits}x}\n"


@made_kind("base64")
def _make_base64(draw: random.Random) -> Iterator[str]:
    while True:
        yield base64.b64encode(draw.randbytes(draw.choice((48, 96, 240)))).decode() + "\n"


@made_kind("short lines")
def _make_short_lines(draw: random.Random) -> Iterator[str]:
    words = [word for sentence in ENGLISH for word in sentence.split()]
    while True:
        yield draw.choice(("- ", "* ", "", "", "1. ", "  ", "> "))
        yield draw.choice((str(draw.randrange(10)), _draw_amount(draw), draw.choice(words), draw.choice(_ASSETS)))
        yield draw.choice(("\n", "\n", "\n", ",\n", ", ", ";", "\t", "\r\n", "\n\n"))


@made_kind("runs of one sign")
def _make_runs(draw: random.Random) -> Iterator[str]:
    """The same sign again and again, as in rules, fill and laughter."""
    while True:
        yield draw.choice("-=._*#~!?>/|0 9ahxAX\t") * draw.randint(2, 60) + draw.choice(("\n", " "))


@made_kind("other scripts")
def _make_other_scripts(draw: random.Random) -> Iterator[str]:
    """Letters at random of scripts that no sentence above is written in: an upper bound for real words."""
    while True:
        first, last = draw.choice(_SCRIPTS)
        words = ("".join(chr(draw.randint(first, last)) for _ in range(draw.randint(2, 8))) for _ in range(12))
        yield " ".join(words) + "\n"


@made_kind("symbols")
def _make_symbols(draw: random.Random) -> Iterator[str]:
    while True:
        first, last = draw.choice(_SYMBOLS)
        yield "".join(chr(draw.randint(first, last)) for _ in range(20))
        yield draw.choice(("\n", " ", "\t\t", "    ", "\x00", "\x1b[0m", "e\u0301\u0323", "----", "====", "…"))
