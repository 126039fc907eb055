"""Legal bases as readers cite them: `809-21` is 《政务数据共享条例》第二十一条. Pure."""

from __future__ import annotations

import re

from app.kernel.text import Text

_SOURCES = {
    "REG": Text("《信息化促进条例》第{zh}条", "Informatization Regulation Art. {en}"),
    "809": Text("《政务数据共享条例》第{zh}条", "Decree 809 Art. {en}"),
    "CIV": Text("《民法典》第{zh}条", "Civil Code Art. {en}"),
    "DSP": Text("数据空间协议第{zh}章", "Dataspace Protocol §{en}"),
}
_AGAIN = Text("第{zh}条", "{en}")
_CODE = re.compile(r"(REG|809|CIV|DSP)-(\d{1,2})(\(\d+\))?")
_DIGITS = "零一二三四五六七八九"


def cite(basis: str) -> Text:
    """Article codes, one or several joined by commas, as a citation, a source named once for articles of it that
    follow each other; what is no code stays as it is."""
    zh: list[str] = []
    en: list[str] = []
    before = None
    for code in (part.strip() for part in basis.split(",")):
        found = _CODE.fullmatch(code)
        if found is None:
            zh, en, before = [*zh, code], [*en, code], None
            continue
        source, article, item = found.groups()
        words = (_AGAIN if source == before else _SOURCES[source]).with_(zh=numeral(int(article)), en=article)
        zh.append(words.zh + (f"第{numeral(int(item[1:-1]))}项" if item else ""))
        en.append(words.en + (item or ""))
        before = source
    return Text("、".join(zh), ", ".join(en))


def numeral(number: int) -> str:
    """A number from 0 to 99 as articles of law are numbered: 二十一."""
    tens, ones = divmod(number, 10)
    if tens == 0:
        return _DIGITS[ones]
    return ("" if tens == 1 else _DIGITS[tens]) + "十" + (_DIGITS[ones] if ones else "")
