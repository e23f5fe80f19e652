"""A few sentences in many languages, written for this purpose: what an agent's counterparties may write."""

from __future__ import annotations

from typing import Final

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
