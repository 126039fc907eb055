"""Whether a password will do: length and kinds by profile, and not one that everybody tries first. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from app.kernel.text import Text

LONGEST = 128
# What widely used passwords are made of once digits and signs are taken away and look-alikes read as letters.
COMMON = frozenset(
    [
        "password",
        "passwd",
        "passw",
        "pass",
        "admin",
        "administrator",
        "root",
        "welcome",
        "qwerty",
        "qwertyuiop",
        "qwer",
        "asdf",
        "asdfgh",
        "asdfghjkl",
        "zxcv",
        "zxcvbn",
        "zxcvbnm",
        "qaz",
        "qazwsx",
        "wsx",
        "edc",
        "qweasd",
        "qweasdzxc",
        "letmein",
        "iloveyou",
        "monkey",
        "dragon",
        "master",
        "login",
        "abc",
        "abcd",
        "abcde",
        "abcdef",
        "abcdefg",
        "abcdefgh",
        "test",
        "tester",
        "guest",
        "user",
        "demo",
        "changeme",
        "secret",
        "default",
        "oracle",
        "postgres",
        "system",
        "manager",
        "server",
        "huawei",
        "alibaba",
        "tencent",
        "baidu",
        "taobao",
        "woaini",
        "wang",
        "zhang",
        "zhao",
        "gov",
        "zhengfu",
        "zhengtong",
        "zhengwu",
        "china",
        "beijing",
        "shanghai",
        "nihao",
        "hello",
        "summer",
        "winter",
        "spring",
        "autumn",
        "football",
        "baseball",
        "sunshine",
        "princess",
        "superman",
        "batman",
        "trustno",
        "shadow",
        "michael",
        "jordan",
        "aa",
        "aaa",
        "aaaa",
        "xxx",
        "p",
        "w",
        "q",
        "a",
        "z",
    ]
)
_LOOKS_LIKE = str.maketrans("@4301$5!7", "aaeolssit")
_KINDS: tuple[Callable[[str], bool], ...] = (
    str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum() and not c.isspace(),
)  # fmt: skip


def password_fault(password: str, login: str, length: int, kinds: int) -> Text | None:
    """What is wrong with a new password for `login`; None where it will do."""
    has = sum(any(test(c) for c in password) for test in _KINDS)
    if not length <= len(password) <= LONGEST or has < kinds:
        return Text(
            "口令须 {n} 至 128 个字符，含大写、小写、数字、符号中的 {k} 类",
            "{n} to 128 characters of {k} kinds",
        ).with_(n=length, k=kinds)
    if len(login) >= 3 and login.lower() in password.lower():
        return Text("口令不得包含登录名", "a password does not contain the login")
    if _is_common(password):
        return Text("口令过于常见", "a password that everybody tries first")
    return None


def _is_common(password: str) -> bool:
    """Such as Passw0rd!, Admin@123 and Qwerty2026#: a common word, however dressed up."""
    forms = (password.lower(), password.lower().translate(_LOOKS_LIKE))
    cores = {re.sub("[^a-z]", "", form) for form in forms}
    cores |= {re.sub("[^a-z]", "", re.sub("[^a-z]*$", "", password.lower()).translate(_LOOKS_LIKE))}
    return bool(cores & COMMON) or len(set(password)) < 4
