"""Forms of the ODK family read as plans: XForm (XML) and XLSForm (workbook). What is asked of people is an item;
what the device fills in or calculates is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from app.kernel.text import Text
from catalog.collection.reading.described import Described, in_two_languages
from catalog.formats.reading import FileRefused
from catalog.formats.workbook import Sheet, texts_of
from catalog.resources.codes import DataType

_XF = "{http://www.w3.org/2002/xforms}"
_XHTML = "{http://www.w3.org/1999/xhtml}"
_ASKED = ("input", "select1", "select", "upload", "range", "rank", "odk:rank", "trigger", "secret")
_TYPES = {
    "string": DataType.CHARACTER, "text": DataType.CHARACTER, "int": DataType.INTEGER, "integer": DataType.INTEGER,
    "decimal": DataType.NUMERIC, "range": DataType.NUMERIC, "boolean": DataType.LOGICAL,
    "acknowledge": DataType.LOGICAL, "date": DataType.DATE, "time": DataType.CHARACTER,
    "dateTime": DataType.DATETIME, "datetime": DataType.DATETIME, "geopoint": DataType.GENERAL,
    "geotrace": DataType.GENERAL, "geoshape": DataType.GENERAL, "image": DataType.GENERAL,
    "audio": DataType.GENERAL, "video": DataType.GENERAL, "file": DataType.GENERAL, "binary": DataType.GENERAL,
    "barcode": DataType.CHARACTER, "select1": DataType.CHARACTER, "select": DataType.CHARACTER,
    "select_one": DataType.CHARACTER, "select_multiple": DataType.CHARACTER,
}  # fmt: skip
# XLSForm types of rows that ask nobody anything.
_STRUCTURE = re.compile(r"(begin|end)[ _](group|repeat)$|note$")
_BY_DEVICE = frozenset(
    [
        "start",
        "end",
        "today",
        "deviceid",
        "subscriberid",
        "simserial",
        "phonenumber",
        "username",
        "email",
        "audit",
        "calculate",
        "hidden",
        "start-geopoint",
        "background-audio",
        "xml-external",
        "csv-external",
    ]
)
_FILLED_IN = Text("由设备或公式填写，不是向人采集", "filled in by the device or a formula, asked of nobody")


def read_xform(content: bytes) -> Described:
    """The form's questions in their order. Errors: FileRefused."""
    try:
        root = fromstring(content)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise FileRefused(Text("不是完好的 XForm。", "Not an intact XForm.")) from error
    model, body = root.find(f".//{_XF}model"), root.find(f"{_XHTML}body")
    if model is None or body is None:
        raise FileRefused(Text("不是 XForm：缺少 model 或 body。", "Not an XForm: no model or no body."))
    texts, binds = _translations(model), {b.get("nodeset", ""): b for b in model.iter(f"{_XF}bind")}
    title = root.findtext(f".//{_XHTML}title", "")
    found = Described(" ".join(title.split()))
    for control in _controls(body):
        path = control.get("ref") or control.get("bind") or ""
        bind = binds.get(path)
        kind = control.tag.removeprefix(_XF)
        code = path.rstrip("/").rpartition("/")[2]
        if bind is not None and (bind.get("calculate") or bind.get("readonly") == "true()"):
            found.leave_out(code, _FILLED_IN)
            continue
        typed = (bind.get("type") or "").removeprefix("xsd:") if bind is not None else ""
        found.add(
            code, _label(control, texts), explained=_label(control, texts, "hint"),
            data_type=_TYPES.get(kind if kind.startswith("select") else typed),
            codes=[_label(choice, texts) for choice in control.findall(f"{_XF}item")] or _itemset(control),
        )  # fmt: skip
    if not found.items:
        raise FileRefused(Text("表单中没有问题。", "The form asks nothing."))
    return found


def _controls(body: Element) -> Iterator[Element]:
    names = {f"{_XF}{name}" for name in _ASKED}
    return (element for element in body.iter() if element.tag in names)


def _translations(model: Element) -> dict[str, dict[str, str]]:
    """Texts by id, then by language."""
    texts: dict[str, dict[str, str]] = {}
    for translation in model.iter(f"{_XF}translation"):
        for text in translation.findall(f"{_XF}text"):
            value = text.find(f"{_XF}value")
            said = "" if value is None else " ".join("".join(value.itertext()).split())
            texts.setdefault(text.get("id", ""), {})[translation.get("lang", "")] = said
    return texts


def _label(element: Element, texts: Mapping[str, Mapping[str, str]], tag: str = "label") -> str:
    label = element.find(f"{_XF}{tag}")
    if label is None:
        return ""
    reference = re.fullmatch(r"jr:itext\('([^']+)'\)", label.get("ref", ""))
    if reference:
        return in_two_languages(texts.get(reference.group(1), {}))
    return " ".join("".join(label.itertext()).split())


def _itemset(control: Element) -> list[str]:
    """The name of the list that the choices come from."""
    itemset = control.find(f"{_XF}itemset")
    named = re.search(r"instance\('([^']+)'\)", itemset.get("nodeset", "")) if itemset is not None else None
    return [named.group(1)] if named else []


# --- XLSForm


def is_xlsform(found: Mapping[str, Sheet]) -> bool:
    return "survey" in {name.strip().lower() for name in found}


def read_xlsform(found: Mapping[str, Sheet]) -> Described:
    """The questions of the sheet `survey`, with the lists of `choices` and the title of `settings`."""
    by_name = {name.strip().lower(): sheet for name, sheet in found.items()}
    settings = _table(by_name.get("settings"))
    described = Described(next((row.get("form_title", "") for row in settings), ""))
    lists: dict[str, list[str]] = {}
    for row in _table(by_name.get("choices")):
        name = row.get("list_name") or row.get("list name") or ""
        lists.setdefault(name, []).append(_said(row, "label") or row.get("name", ""))
    for row in _table(by_name["survey"]):
        kind, _, listed = row.get("type", "").strip().partition(" ")
        if not kind or _STRUCTURE.fullmatch(row["type"].strip().lower()):
            continue
        if kind.lower() in _BY_DEVICE or row.get("calculation"):
            described.leave_out(row.get("name") or kind, _FILLED_IN)
            continue
        listed = listed.removesuffix(" or_other").strip()
        described.add(
            row.get("name", ""), _said(row, "label"), explained=_said(row, "hint"), data_type=_TYPES.get(kind),
            codes=lists.get(listed, [listed] if kind.startswith("select") else []),
        )  # fmt: skip
    if not described.items:
        raise FileRefused(Text("表单中没有问题。", "The form asks nothing."))
    return described


def _table(sheet: Sheet | None) -> list[dict[str, str]]:
    """The rows of a sheet by its first row's headings."""
    if sheet is None:
        return []
    rows = texts_of(sheet)
    heads = [head.strip() for head in next(rows, [])]
    heads = [head if "::" in head else head.lower() for head in heads]
    return [dict(zip(heads, row, strict=False)) for row in rows if any(row)]


def _said(row: Mapping[str, str], what: str) -> str:
    """A label or hint, in Chinese where the form has one (label::中文 (zh))."""
    return in_two_languages(
        {
            head.partition("::")[2]: text
            for head, text in row.items()
            if head.partition("::")[0].lower() == what
        }
    )
