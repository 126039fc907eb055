"""What validation found wrong, in words: a pydantic error as the field, the value and the rule.

Pure. Owns the wording in both languages of what pydantic says in one.
"""

from __future__ import annotations

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
    if isinstance(inner, ValueError) and inner.args and isinstance(inner.args[0], Text):
        return Fault(pointer, inner.args[0], Text("见该字段的说明", "see the description of the field"))
    kind, value = str(entry["type"]), entry.get("input")
    chinese = _KINDS.get(kind, "不符合要求")
    told = (harmless or kind in _REPEATED) and kind != "missing" and value != ""
    if told and isinstance(value, str | int | float) and len(str(value)) <= SHOWN_LENGTH:
        chinese, english = f"“{value}”{chinese}", f"“{value}”: {english}"
    return Fault(
        pointer, Text(chinese, english), _rule_of(kind, context if isinstance(context, dict) else {})
    )


_REPEATED = {"enum", "literal_error", "string_pattern_mismatch", "greater_than_equal", "less_than_equal"}
_LIMITS: dict[str, Text] = {
    "expected": Text("允许的取值：{value}", "allowed: {value}"),
    "pattern": Text("格式：{value}", "pattern: {value}"),
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
}


def _rule_of(kind: str, context: Mapping[str, object]) -> Text:
    for name, told in _LIMITS.items():
        if name in context:
            return told.with_(value=str(context[name]).replace(" or ", ", "))
    return _RULES.get(kind, Text(f"规则 {kind}", f"rule {kind}"))
