"""What validation found wrong, in words: a pydantic error as the field, the value and the rule.

Pure. Owns the wording in both languages of what pydantic says in one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.kernel.errors import Fault
from app.kernel.text import Text

SHOWN_LENGTH = 60  # characters of a value that is repeated

_KINDS: dict[str, str] = {
    "missing": "缺少此字段",
    "extra_forbidden": "没有这个字段",
    "string_too_short": "不能为空或过短",
    "string_too_long": "超过长度上限",
    "enum": "不在允许的取值之内",
    "literal_error": "不在允许的取值之内",
    "uuid_parsing": "不是合法的标识",
    "int_parsing": "须为整数",
    "greater_than_equal": "小于下限",
    "less_than_equal": "大于上限",
    "date_from_datetime_parsing": "不是合法的日期（YYYY-MM-DD）",
    "date_parsing": "不是合法的日期（YYYY-MM-DD）",
    "too_short": "条目过少",
    "too_long": "条目过多",
    "string_type": "须为文本",
    "model_attributes_type": "须为对象",
    "list_type": "须为数组",
    "string_pattern_mismatch": "格式不符",
}


def fault_of(entry: Mapping[str, object], *, pointer: str | None = None, harmless: bool = False) -> Fault:
    """A pydantic error as field, value's fault and rule; `pointer` where its own place is not the field. The value
    is repeated where a list, a pattern or a range refuses it, since texts of free form may be secrets; any short
    one where they are `harmless`."""
    location = entry["loc"]
    assert isinstance(location, tuple)
    parts = [str(part) for part in location]
    if pointer is None:
        pointer = "/" + "/".join(parts[1:] if parts and parts[0] == "body" else parts)
    english = str(entry["msg"])
    context = entry.get("ctx")
    inner = context.get("error") if isinstance(context, dict) else None
    kind, value = str(entry["type"]), entry.get("input")
    if isinstance(inner, ValueError) and inner.args and isinstance(inner.args[0], Text):
        said: Text = inner.args[0]
        if harmless and _is_short(value) and str(value) not in said.zh:
            said = Text(f"“{value}”{said.zh}", f"“{value}”: {said.en}")
        return Fault(pointer, said, Text("见该字段的说明", "see the description of the field"))
    chinese = _KINDS.get(kind, "不符合要求")
    if kind == "string_pattern_mismatch":
        english = "does not have the form asked for"
    told = (harmless or kind in _REPEATED) and kind != "missing" and value != ""
    if told and _is_short(value):
        chinese, english = f"“{value}”{chinese}", f"“{value}”: {english}"
    return Fault(
        pointer, Text(chinese, english), _rule_of(kind, context if isinstance(context, dict) else {})
    )


_REPEATED = {"enum", "literal_error", "string_pattern_mismatch", "greater_than_equal", "less_than_equal"}
_LIMITS: dict[str, Text] = {
    "expected": Text("允许的取值：{value}", "allowed: {value}"),
    "min_length": Text("至少 {value}", "at least {value}"),
    "max_length": Text("至多 {value}", "at most {value}"),
    "ge": Text("不小于 {value}", "not below {value}"),
    "le": Text("不大于 {value}", "not above {value}"),
}
_RULES: dict[str, Text] = {
    "missing": Text("必填", "required"),
    "extra_forbidden": Text("只接受接口说明中的字段", "only the fields of the description are taken"),
    "int_parsing": Text("整数", "a whole number"),
    "int_type": Text("整数", "a whole number"),
    "int_from_float": Text("整数", "a whole number"),
    "bool_parsing": Text("true 或 false", "true or false"),
    "bool_type": Text("true 或 false", "true or false"),
    "uuid_parsing": Text("UUID", "a UUID"),
    "date_parsing": Text("YYYY-MM-DD", "YYYY-MM-DD"),
    "date_from_datetime_parsing": Text("YYYY-MM-DD", "YYYY-MM-DD"),
    "string_type": Text("文本", "text"),
    "list_type": Text("数组", "a list"),
    "tuple_type": Text("数组", "a list"),
    "dict_type": Text("对象", "an object"),
    "model_type": Text("对象", "an object"),
    "model_attributes_type": Text("对象", "an object"),
    "float_parsing": Text("数字", "a number"),
    "float_type": Text("数字", "a number"),
    "date_type": Text("YYYY-MM-DD", "YYYY-MM-DD"),
    "datetime_parsing": Text("RFC 3339 时间，如 2026-11-02T09:30:00+08:00", "an RFC 3339 time"),
    "datetime_from_date_parsing": Text("RFC 3339 时间，如 2026-11-02T09:30:00+08:00", "an RFC 3339 time"),
    "timezone_aware": Text("时间须带时区", "a time with its offset"),
    "json_invalid": Text("合法的 JSON（RFC 8259）", "valid JSON (RFC 8259)"),
}


# Every pattern of the interface in words (a test compares): nobody who fills in a sheet reads regular expressions.
_FORMS: dict[str, Text] = {
    r"^\d{2}$": Text("两位数字", "two digits"),
    r"^\d{3}$": Text("三位数字", "three digits"),
    r"^[0-9A-Z]{0,18}$": Text("至多 18 位数字或大写字母", "up to 18 digits or capital letters"),
    r"^[1-9]\d{5}$": Text("六位行政区划代码", "a division code of six digits"),
    r"^[A-Za-z_][A-Za-z0-9_]{0,62}$": Text(
        "以字母或下划线开头，只含字母、数字、下划线，至多 63 个字符",
        "begins with a letter or underscore; letters, digits and underscores only, up to 63 characters",
    ),
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": Text(
        "以字母或数字开头，只含字母、数字和 _ . -，至多 64 个字符",
        "begins with a letter or digit; letters, digits and _ . - only, up to 64 characters",
    ),
    r"^[a-z0-9][a-z0-9-]{0,62}$": Text(
        "以小写字母或数字开头，只含小写字母、数字和连字符，至多 63 个字符",
        "begins with a small letter or digit; small letters, digits and hyphens only, up to 63 characters",
    ),
    r"^[a-z0-9-]{1,40}$": Text(
        "小写字母、数字和连字符，1 至 40 个字符", "small letters, digits and hyphens, 1 to 40 characters"
    ),
    r"^[^\W\d][^\x00.]*(\.[^\x00.]+){0,3}$": Text(
        "目录字段的路径，各级以点分隔，至多四级，首字符为文字",
        "the path of a field of the record: up to four parts with points between, the first begins with a letter",
    ),
    r"^[A-Za-z0-9._/-]{0,200}$": Text(
        "只含字母、数字和 . _ / -，至多 200 个字符", "letters, digits and . _ / - only, up to 200 characters"
    ),
    r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$": Text(
        "存储桶名称：小写字母、数字、点和连字符，3 至 63 个字符，首尾为字母或数字",
        "the name of a bucket: small letters, digits, points and hyphens, 3 to 63 characters, letter or digit at both ends",
    ),
    r"^[a-z0-9-]{1,64}$": Text(
        "小写字母、数字和连字符，1 至 64 个字符", "small letters, digits and hyphens, 1 to 64 characters"
    ),
    r"^[\x21-\x2b\x2d\x2e\x30-\x7e]{1,128}$": Text(
        "1 至 128 个可打印的 ASCII 字符，不含空格、逗号和斜杠",
        "1 to 128 printable ASCII characters without blanks, commas or slashes",
    ),
    r"^[^\x00-\x1f\\*?\[\]{}]*$": Text(
        "文件路径，不含控制字符、反斜杠和通配符",
        "the path of a file without control characters, backslashes or wildcards",
    ),
    r"^[0-9a-f]{16}$": Text("16 位小写十六进制数字", "16 small hexadecimal digits"),
    r"^[0-9a-f]{64}$": Text("64 位小写十六进制数字（SHA-256）", "64 small hexadecimal digits (SHA-256)"),
    r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$": Text(
        "起止时刻，如 22:00-06:00", "two times of day, such as 22:00-06:00"
    ),
    r"^[^@\s<>\"',;:\\()\[\]\x00-\x1f]+@[A-Za-z0-9.-]+$": Text(
        "电子邮箱地址，如 name@example.gov.cn", "an e-mail address, such as name@example.gov.cn"
    ),
    r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$": Text(
        "HTTP 头的名称，至多 100 个字符", "the name of an HTTP header, up to 100 characters"
    ),
    r"^[\x20-\x7e]*$": Text("只含可打印的 ASCII 字符", "printable ASCII characters only"),
    r"^[\x21-\x5b\x5d-\x7e]+$": Text(
        "网址，只含 ASCII 字符，不含空格和反斜杠", "an address in ASCII without blanks or backslashes"
    ),
    r"^[^\x00]*$": Text("不含空字符", "without the null character"),
    r"^[^\x00-\x1f]*$": Text("不含控制字符", "without control characters"),
    r"^[^\x00-\x1f:]*$": Text("不含控制字符和冒号", "without control characters or colons"),
    r"^[^\x00-\x20]*$": Text("不含空格和控制字符", "without spaces or control characters"),
    r"^[^\x00-\x1f\"\\]{1,200}$": Text(
        "1 至 200 个字符，不含控制字符、引号和反斜杠",
        "1 to 200 characters without control characters, quotation marks or backslashes",
    ),
}


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float) and 0 < len(str(value)) <= SHOWN_LENGTH


def form_in_words(pattern: str) -> Text | None:
    """What a pattern of the interface asks for, in words; None for one that nobody has put into words."""
    if pattern in _FORMS:
        return _FORMS[pattern]
    listed = re.fullmatch(r"\^\(([\w|]+)\)\$", pattern)
    if listed is None:
        return None
    values = listed[1].split("|")
    return Text("允许的取值：" + "、".join(values), "allowed: " + ", ".join(values))


def _rule_of(kind: str, context: Mapping[str, object]) -> Text:
    if "pattern" in context:
        pattern = str(context["pattern"])
        return form_in_words(pattern) or Text(f"格式：{pattern}", f"pattern: {pattern}")
    for name, told in _LIMITS.items():
        if name in context:
            return told.with_(value=str(context[name]).replace(" or ", ", ").replace("'", ""))
    return _RULES.get(kind, Text(f"规则 {kind}", f"rule {kind}"))
