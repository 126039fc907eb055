"""DCAT-AP catalogs in Turtle, JSON-LD and RDF/XML, read as resources.

Owns which statement says what. Statements that the record has no place for are kept as they came. Fetches
nothing: entities of XML and contexts that stand elsewhere are refused.
"""

from __future__ import annotations

import re
import xml.sax
from collections.abc import Iterator
from typing import BinaryIO, Literal

import defusedxml
import defusedxml.sax
from pydantic import JsonValue
from rdflib import BNode, Graph, URIRef
from rdflib import Literal as Words
from rdflib.exceptions import ParserError
from rdflib.namespace import DCAT, DCTERMS, FOAF, RDF, RDFS, SKOS
from rdflib.plugins.parsers.notation3 import BadSyntax
from rdflib.term import Node

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.described import Described, as_row
from catalog.formats.reading import (
    CELL_LIMIT,
    ROW_LIMIT,
    AgencyRef,
    FileRefused,
    FileTooLarge,
    Row,
    SourceRow,
    clean,
)
from catalog.interop.dcat import VCARD
from catalog.interop.vocabularies import EU, EU_LANGUAGE, EU_THEME, IANA

Syntax = Literal["turtle", "json-ld", "xml"]
RDF_LIMIT_BYTES = 32 << 20  # a graph takes some thirty times its text in memory
NODE_DEPTH_LIMIT = 4

_REQUIRED = ((DCTERMS.title, "dct:title"), (DCTERMS.description, "dct:description"))
_RULE = Text("DCAT-AP 3 数据集必填项", "required of a dataset by DCAT-AP 3")
_PLACED = frozenset(
    {
        RDF.type, DCTERMS.identifier, DCTERMS.title, DCTERMS.description, DCAT.keyword, DCTERMS.publisher,
        DCTERMS.issued, DCTERMS.modified, DCTERMS.accrualPeriodicity, DCAT.landingPage, DCAT.distribution,
        DCTERMS.language,
    }
)  # fmt: skip
_ACCESS = {"PUBLIC": "public", "RESTRICTED": "restricted public", "NON_PUBLIC": "non-public"}
_LANGUAGES = {code: tag for tag, code in EU_LANGUAGE.items()}
_OWN_THEME = re.compile(r"/catalog\?theme=(\w+)#theme$")
# What rdflib raises on texts that are not what they say.
_DAMAGE = (BadSyntax, ParserError, xml.sax.SAXException, ValueError, TypeError, KeyError, AttributeError, AssertionError)  # fmt: skip


def read_dcat_ap(stream: BinaryIO, syntax: Syntax, document: JsonValue = None) -> Iterator[Row]:
    """Every dcat:Dataset, in the order of their addresses; `document` is the JSON where it is parsed already.

    The graph is held whole: RDF has no rows. Errors: FileRefused, FileTooLarge.
    """
    graph = parse(stream, syntax, document)
    datasets = sorted(
        set(graph.subjects(RDF.type, DCAT.Dataset)), key=lambda n: (isinstance(n, BNode), str(n))
    )
    if not datasets:
        raise FileRefused(Text("其中没有 dcat:Dataset。", "It holds no dcat:Dataset."))
    if len(datasets) > ROW_LIMIT:
        raise FileTooLarge(Text("数据集超过 {n} 个。", "More than {n} datasets.").with_(n=ROW_LIMIT))
    for number, dataset in enumerate(datasets):
        told = _described(graph, dataset)
        missing = Text("来源缺少此项", "missing in the source")
        notes = [
            Fault(name, missing, _RULE) for term, name in _REQUIRED if (dataset, term, None) not in graph
        ]
        shown = SourceRow(number, {"title": told.title[:500], "identifier": told.identifier[:500]})
        place = str(dataset)[:300] if isinstance(dataset, URIRef) else f"dataset[{number}]"
        yield as_row(place, told, notes, shown)


def parse(
    stream: BinaryIO, syntax: Syntax, document: JsonValue = None, base: str = "https://import.invalid/"
) -> Graph:
    """The graph of a file; what it names relatively stands below `base`. Errors: FileRefused, FileTooLarge."""
    data = stream.read(RDF_LIMIT_BYTES + 1)
    if len(data) > RDF_LIMIT_BYTES:
        raise FileTooLarge(limit=RDF_LIMIT_BYTES)
    graph = Graph(bind_namespaces="none")
    try:
        if syntax == "xml":
            defusedxml.sax.parseString(data, xml.sax.ContentHandler(), forbid_dtd=True)
        elif syntax == "json-ld":
            _require_own_context(document)
        graph.parse(data=data, format=syntax, publicID=base)
    except defusedxml.DefusedXmlException as error:
        message = Text("XML 中不得有 DTD 和实体。", "The XML may hold no DTD and no entities.")
        raise FileRefused(message) from error
    except RecursionError as error:
        raise FileRefused(Text("嵌套过深。", "Nested too deep.")) from error
    except _DAMAGE as error:
        name = {"turtle": "Turtle", "json-ld": "JSON-LD", "xml": "RDF/XML"}[syntax]
        message = Text("不是合法的 {name}：{error}。", "Not valid {name}: {error}.")
        raise FileRefused(message.with_(name=name, error=" ".join(str(error).split())[:200])) from error
    return graph


def _require_own_context(value: JsonValue) -> None:
    """Refuse a context that would have to be fetched: the file itself says where from."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            pending += value.values()
            contexts = value.get("@context", [])
            for context in contexts if isinstance(contexts, list) else [contexts]:
                address = context.get("@import") if isinstance(context, dict) else context
                if address is not None:
                    message = Text("“@context”须写在文件内，不会从 {url} 读取。", "The @context stands in the file; it is not fetched from {url}.")  # fmt: skip
                    raise FileRefused(message.with_(url=str(address)[:200]))


def _described(graph: Graph, dataset: Node) -> Described:
    title, title_en = _in_two(graph, dataset, DCTERMS.title)
    description, _ = _in_two(graph, dataset, DCTERMS.description)
    access = next((_tail(node) for node in graph.objects(dataset, DCTERMS.accessRights)), "")
    distributions = [(node, _distribution(graph, node)) for node in graph.objects(dataset, DCAT.distribution)]
    # Names of blank nodes are new with every reading, so they say nothing of the order.
    distributions.sort(key=lambda pair: ("" if isinstance(pair[0], BNode) else str(pair[0]), str(pair[1])))
    holders = [*(node for node, _ in distributions), dataset]
    licences = sorted(_licence(graph, n) for d in holders for n in graph.objects(d, DCTERMS.license))
    rights = sorted(_named(graph, n) for d in holders for n in graph.objects(d, DCTERMS.rights))
    languages = (_tail(node) for node in graph.objects(dataset, DCTERMS.language))
    return Described(
        identifier=_one(graph, dataset, DCTERMS.identifier)
        or (str(dataset) if isinstance(dataset, URIRef) else ""),
        title=title,
        title_en=title_en,
        description=description,
        publisher=_publisher(graph, dataset),
        keywords=sorted(_words(node) for node in graph.objects(dataset, DCAT.keyword)),
        themes=_themes(graph, dataset),
        frequency=next((_tail(node) for node in graph.objects(dataset, DCTERMS.accrualPeriodicity)), ""),
        access=_ACCESS.get(access),
        closed_to_agencies=False,
        rights=next(iter(rights), ""),
        issued=_one(graph, dataset, DCTERMS.issued),
        modified=_one(graph, dataset, DCTERMS.modified),
        licence=next(iter(licences), None),
        landing_page=_one(graph, dataset, DCAT.landingPage) or None,
        distributions=[told for _, told in distributions],
        contact=_contact(graph, dataset),
        spatial=next(iter(sorted(_named(graph, n) for n in graph.objects(dataset, DCTERMS.spatial))), "")
        or None,
        temporal=_period(graph, dataset),
        languages=sorted(_LANGUAGES.get(code, code.lower()) for code in languages if code),
        extra=_unplaced(graph, dataset),
    )


def _in_two(graph: Graph, subject: Node, term: URIRef) -> tuple[str, str | None]:
    """The text in Chinese, else in no language, else in any; and the English one beside it."""
    found = sorted((n for n in graph.objects(subject, term) if isinstance(n, Words)), key=_by_language)
    english = next((n for n in found if (n.language or "").startswith("en")), None)
    text = _words(found[0]) if found else ""
    other = _words(english) if english is not None else None
    return text, other or (text if text.isascii() and text else None)


def _by_language(words: Words) -> tuple[int, str]:
    language = words.language or ""
    return (0 if language.startswith("zh") else 1 if not language else 2), str(words)


def _words(node: Node) -> str:
    return clean(str(node))[:CELL_LIMIT]


def _one(graph: Graph, subject: Node, term: URIRef) -> str:
    """The first text or address that a term gives, in the order of the texts."""
    return next(iter(sorted(_words(n) for n in graph.objects(subject, term) if not isinstance(n, BNode))), "")


def _tail(node: Node) -> str:
    """The last part of an address of an authority table; of a text, the text."""
    return re.split(r"[/#]", str(node))[-1] if isinstance(node, URIRef) else _words(node)


def _named(graph: Graph, node: Node) -> str:
    """What a node is called: its own words, its label, else its address."""
    if isinstance(node, Words):
        return _words(node)
    for term in (SKOS.prefLabel, RDFS.label, DCTERMS.title, FOAF.name, VCARD.fn):
        if text := _in_two(graph, node, term)[0]:
            return text
    return str(node) if isinstance(node, URIRef) else ""


def _licence(graph: Graph, node: Node) -> str:
    return _named(graph, node) if isinstance(node, BNode) else str(node)


def _publisher(graph: Graph, dataset: Node) -> AgencyRef | None:
    for node in sorted(graph.objects(dataset, DCTERMS.publisher), key=str):
        if name := (_in_two(graph, node, FOAF.name)[0] or _named(graph, node))[:256]:
            english = _one(graph, node, SKOS.altLabel) or (name if name.isascii() else None)
            return AgencyRef(name, _one(graph, node, SKOS.notation) or None, english)
    return None


def _themes(graph: Graph, dataset: Node) -> list[str]:
    """Names of the themes; those of the EU table that only repeat one of ours are left out."""
    nodes = sorted(graph.objects(dataset, DCAT.theme), key=str)
    own = [found[1] for node in nodes if (found := _OWN_THEME.search(str(node)))]
    repeated = {f"{EU}data-theme/{code}" for theme, (code, _) in EU_THEME.items() if theme in own}
    others = [n for n in nodes if not _OWN_THEME.search(str(n)) and str(n) not in repeated]
    return [*own, *(name for node in others if (name := _named(graph, node)))]


def _distribution(graph: Graph, node: Node) -> dict[str, JsonValue]:
    media = _one(graph, node, DCAT.mediaType)
    form = next((n for n in graph.objects(node, DCTERMS["format"])), None)
    return {
        "title": _in_two(graph, node, DCTERMS.title)[0][:500] or None,
        "description": _in_two(graph, node, DCTERMS.description)[0] or None,
        "format": (_tail(form) if isinstance(form, URIRef) else _named(graph, form))[:500] if form else None,
        "media_type": re.sub(rf"^({re.escape(IANA)}|http://www.iana.org/assignments/media-types/)", "", media) or None,
        "access_url": _one(graph, node, DCAT.accessURL) or None,
        "download_url": _one(graph, node, DCAT.downloadURL) or None,
    }  # fmt: skip


def _contact(graph: Graph, dataset: Node) -> dict[str, JsonValue]:
    node = next(iter(sorted(graph.objects(dataset, DCAT.contactPoint), key=str)), None)
    if node is None:
        return {}
    return {
        "name": _in_two(graph, node, VCARD.fn)[0][:500] or None,
        "email": _one(graph, node, VCARD.hasEmail).removeprefix("mailto:") or None,
        "telephone": _one(graph, node, VCARD.hasTelephone).removeprefix("tel:") or None,
    }


def _period(graph: Graph, dataset: Node) -> str | None:
    for node in graph.objects(dataset, DCTERMS.temporal):
        first, last = _one(graph, node, DCAT.startDate), _one(graph, node, DCAT.endDate)
        if first or last:
            return f"{first}/{last}"
    return None


def _unplaced(graph: Graph, dataset: Node) -> dict[str, JsonValue]:
    """The statements that have no place in the record, by the address of their term."""
    told: dict[str, list[JsonValue]] = {}
    for term, node in sorted(graph.predicate_objects(dataset), key=str):
        if term not in _PLACED:
            told.setdefault(str(term), []).append(_as_json(graph, node, NODE_DEPTH_LIMIT))
    return {term: values[0] if len(values) == 1 else sorted(values, key=str) for term, values in told.items()}


def _as_json(graph: Graph, node: Node, depth: int) -> JsonValue:
    if isinstance(node, Words):
        return {"@value": _words(node), "@language": node.language} if node.language else _words(node)
    if isinstance(node, URIRef) or depth == 0:
        return {"@id": str(node)} if isinstance(node, URIRef) else {}
    inner: dict[str, list[JsonValue]] = {}
    for term, value in sorted(graph.predicate_objects(node), key=str):
        inner.setdefault(str(term), []).append(_as_json(graph, value, depth - 1))
    return {t: v[0] if len(v) == 1 else sorted(v, key=str) for t, v in inner.items()}
