"""Codes the state gives out: who an agency is (GB 32100), where (GB/T 2260), who a person is (GB 11643).

Pure. Owns whether a code is well formed and carries its check characters. Whether a code was ever
assigned is not asked: abolished counties stay valid in the numbers they once gave out.
"""

from __future__ import annotations

import re
from datetime import date

from app.kernel.text import Text

_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # GB 32100: no I O S V Z
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)  # GB 11714
_IDENTITY_CHECKS = "10X98765432"  # GB 11643: the check character by the sum modulo 11

_CREDIT_CODE = re.compile(rf"[{_CREDIT_ALPHABET}]{{2}}[0-9]{{6}}[{_CREDIT_ALPHABET}]{{10}}", re.ASCII)
_IDENTITY_NUMBER = re.compile(r"[1-9][0-9]{16}[0-9X]", re.ASCII)
_DIVISION_CODE = re.compile(r"[1-9][0-9]{5}", re.ASCII)


def organisation_check(body: str) -> str:
    """The GB 11714 check character of eight characters of an organisation code (组织机构代码)."""
    total = sum(w * int(c, 36) for w, c in zip(_ORGANISATION_WEIGHTS, body, strict=True))
    return "0123456789X"[-total % 11]


def credit_check(body: str) -> str:
    """The GB 32100 check character of the first seventeen characters of a credit code."""
    total = sum(pow(3, i, 31) * _CREDIT_ALPHABET.index(c) for i, c in enumerate(body))
    return _CREDIT_ALPHABET[-total % 31]


def identity_check(body: str) -> str:
    """The GB 11643 check character (ISO 7064 MOD 11-2) of the first seventeen digits."""
    total = sum(pow(2, 17 - i, 11) * int(c) for i, c in enumerate(body))
    return _IDENTITY_CHECKS[total % 11]


def credit_code_fault(code: str) -> Text | None:
    """What is wrong with a unified social credit code (统一社会信用代码), or None. Source: GB 32100, GB 11714."""
    if len(code) != 18:
        return Text("统一社会信用代码应为18位", "a credit code has 18 characters")
    if not _CREDIT_CODE.fullmatch(code):
        return Text(
            "统一社会信用代码只用数字和大写字母（不含I、O、S、V、Z），第3至8位为数字",
            "a credit code uses digits and capital letters without I, O, S, V, Z; characters 3 to 8 are digits",
        )
    if code[16] != organisation_check(code[8:16]):
        return Text(
            "统一社会信用代码第9至17位的主体标识码校验位不符（GB 11714）",
            "characters 9 to 17 of the credit code fail the check of GB 11714",
        )
    if code[17] != credit_check(code[:17]):
        return Text(
            "统一社会信用代码校验位不符（GB 32100）",
            "the credit code fails the check of GB 32100",
        )
    return None


def division_code_fault(code: str) -> Text | None:
    """What is wrong with a division code (行政区划代码), or None. Source: GB/T 2260, county level and above.

    Province `pp0000`, city `ppcc00`, district `ppccdd`; `100000` stands for the nation, as in GB 32100.
    """
    if not _DIVISION_CODE.fullmatch(code):
        return Text(
            "行政区划代码应为6位数字，首位不为0",
            "a division code has 6 digits and does not start with 0",
        )
    if code[2:4] == "00" and code[4:] != "00":
        return Text(
            "行政区划代码市级位为00时，县级位也应为00",
            "a division code with 00 for its city cannot name a district",
        )
    return None


def identity_number_fault(number: str) -> Text | None:
    """What is wrong with a citizen identity number (公民身份号码), or None. Source: GB 11643."""
    if len(number) != 18:
        return Text("公民身份号码应为18位", "an identity number has 18 characters")
    if not _IDENTITY_NUMBER.fullmatch(number):
        return Text(
            "公民身份号码前17位应为数字，末位为数字或大写X",
            "an identity number has 17 digits, then a digit or a capital X",
        )
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return Text(
            "公民身份号码第7至14位不是有效的出生日期",
            "characters 7 to 14 of the identity number are not a date",
        )
    if number[17] != identity_check(number[:17]):
        return Text(
            "公民身份号码校验位不符（GB 11643）",
            "the identity number fails the check of GB 11643",
        )
    return None
