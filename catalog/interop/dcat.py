"""The catalog as RDF after DCAT-AP 3.0.0, in a form that satisfies the DCAT-US 3 shapes as well.

Pure: entries in, a graph or its text out. Owns which statement each field of a record becomes; the codes of
others' vocabularies are `vocabularies`'.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal as OneOf

from rdflib import BNode, Graph, Literal, Namespace, URIRef
from rdflib.namespace import DCAT, DCTERMS, FOAF, ORG, RDF, RDFS, SKOS, XSD
from rdflib.term import Node

from app.identity.models import Agency
from app.kernel.text import Text
from catalog.interop.entries import (
    CATALOG_DESCRIPTION,
    CATALOG_TITLE,
    SERVICE_NAME,
    Entry,
    Offer,
    Site,
    date_in,
    languages,
    offers,
    web_address,
)
from catalog.interop.vocabularies import (
    EU_ACCESS,
    EU_FREQUENCY,
    EU_LANGUAGE,
    EU_THEME,
    IANA,
    LICENCES,
    eu,
)
from catalog.resources.codes import THEMES, Theme
from catalog.resources.record import ResourceRecord

Form = OneOf["ttl", "jsonld", "xml"]
_SERIALISERS: dict[Form, str] = {"ttl": "turtle", "jsonld": "json-ld", "xml": "xml"}

HYDRA = Namespace("http://www.w3.org/ns/hydra/core#")
VCARD = Namespace("http://www.w3.org/2006/vcard/ns#")
_PREFIXES = {
    "dcat": DCAT, "dct": DCTERMS, "foaf": FOAF, "hydra": HYDRA, "org": ORG, "rdfs": RDFS, "skos": SKOS,
    "vcard": VCARD, "xsd": XSD,
}  # fmt: skip
_EU_THEMES = URIRef(eu("data-theme", "").rstrip("/"))
_CHINESE = re.compile("[\u3400-\u9fff]")
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # valid in JSON, never in XML


def write(graph: Graph, form: Form) -> bytes:
    """The graph in one of its syntaxes, UTF-8."""
    if form == "jsonld":
        context = {prefix: str(space) for prefix, space in _PREFIXES.items()}
        return graph.serialize(format="json-ld", context=context, auto_compact=False, encoding="utf-8")
    return graph.serialize(format=_SERIALISERS[form], encoding="utf-8")


@dataclass(frozen=True, slots=True)
class CatalogPage:
    """One page of the catalog with the addresses around it (Hydra partial collection view); `total` counts the
    resources of all pages, `following` is None on the last."""

    entries: Sequence[Entry]
    total: int
    address: str
    first: str
    following: str | None


def catalog_graph(page: CatalogPage, publisher: Agency | None, site: Site) -> Graph:
    """The catalog with the datasets of one page; the pages together are the whole catalog."""
    graph = _new_graph()
    catalog = URIRef(site.catalog)
    graph.add((catalog, RDF.type, DCAT.Catalog))
    _both(graph, catalog, DCTERMS.title, CATALOG_TITLE)
    _both(graph, catalog, DCTERMS.description, CATALOG_DESCRIPTION)
    graph.add((catalog, DCTERMS.publisher, _agency(graph, publisher, site)))
    graph.add((catalog, FOAF.homepage, _document(graph, f"{site.url}/catalog", CATALOG_TITLE)))
    for code in ("ZHO", "ENG"):
        graph.add((catalog, DCTERMS.language, _typed(graph, eu("language", code), DCTERMS.LinguisticSystem)))
    for scheme, name in (
        (_own_themes(site), Text("主题", "Themes")),
        (_EU_THEMES, Text("主题", "Data theme")),
    ):
        graph.add((catalog, DCAT.themeTaxonomy, _scheme(graph, scheme, name)))
    for entry in page.entries:
        graph.add((catalog, DCAT.dataset, _add_dataset(graph, entry, site)))
    view = URIRef(page.address)
    graph.add((catalog, RDF.type, HYDRA.Collection))
    graph.add((catalog, HYDRA.totalItems, Literal(page.total)))
    graph.add((catalog, HYDRA.view, view))
    graph.add((view, RDF.type, HYDRA.PartialCollectionView))
    graph.add((view, HYDRA.first, URIRef(page.first)))
    if page.following:
        graph.add((view, HYDRA.next, URIRef(page.following)))
    return graph


def dataset_graph(entry: Entry, site: Site) -> Graph:
    """One resource by itself."""
    graph = _new_graph()
    _add_dataset(graph, entry, site)
    return graph


def _add_dataset(graph: Graph, entry: Entry, site: Site) -> URIRef:
    """State everything about one resource; returns its dataset."""
    record, dataset = entry.record, URIRef(site.dataset(entry.id))
    graph.add((dataset, RDF.type, DCAT.Dataset))
    graph.add((dataset, DCTERMS.identifier, Literal(entry.resource.code)))
    for title in dict.fromkeys((record.title, record.title_en or record.title)):
        graph.add((dataset, DCTERMS.title, _words(title, english=title == record.title_en)))
    graph.add((dataset, DCTERMS.description, _words(record.summary or record.title)))
    for keyword in record.keywords:
        graph.add((dataset, DCAT.keyword, _words(keyword)))
    graph.add((dataset, DCTERMS.publisher, _agency(graph, entry.agency, site)))
    graph.add((dataset, DCAT.contactPoint, _contact(graph, entry, site)))
    _add_coverage(graph, dataset, entry)
    if record.published_on:
        graph.add((dataset, DCTERMS.issued, Literal(record.published_on.isoformat(), datatype=XSD.date)))
    graph.add((dataset, DCTERMS.modified, _moment(entry.modified)))
    if record.update_cycle:
        frequency = eu("frequency", EU_FREQUENCY[record.update_cycle])
        graph.add((dataset, DCTERMS.accrualPeriodicity, _typed(graph, frequency, DCTERMS.Frequency)))
    access = eu("access-right", EU_ACCESS[record.openness.type])
    graph.add((dataset, DCTERMS.accessRights, _typed(graph, access, DCTERMS.RightsStatement)))
    for theme in record.themes:
        for concept in _themes(graph, theme, site):
            graph.add((dataset, DCAT.theme, concept))
    landing = web_address(record.landing_page) or site.page(entry.id)
    graph.add((dataset, DCAT.landingPage, _document(graph, landing, entry.title)))
    if record.items:
        items = Text(f"{record.title}：信息项", f"{entry.title.en}: information items")
        graph.add((dataset, FOAF.page, _document(graph, site.items(entry.id), items)))
    for number, offer in enumerate(offers(entry, site), start=1):
        distribution = URIRef(f"{site.page(entry.id)}#distribution-{number}")
        _add_distribution(graph, distribution, offer, record)
        graph.add((dataset, DCAT.distribution, distribution))
    return dataset


def _add_distribution(graph: Graph, distribution: URIRef, offer: Offer, record: ResourceRecord) -> None:
    graph.add((distribution, RDF.type, DCAT.Distribution))
    graph.add((distribution, DCAT.accessURL, URIRef(offer.access_url)))
    if offer.download_url:
        graph.add((distribution, DCAT.downloadURL, URIRef(offer.download_url)))
    graph.add((distribution, DCTERMS.title, _words(offer.title or offer.format or record.title)))
    if offer.description:
        graph.add((distribution, DCTERMS.description, _words(offer.description)))
    if offer.file_type:
        kind = _typed(graph, eu("file-type", offer.file_type), DCTERMS.MediaTypeOrExtent)
        graph.add((distribution, DCTERMS.format, kind))
    if offer.media_type:
        media = _typed(graph, IANA + offer.media_type, DCTERMS.MediaType)
        graph.add((distribution, DCAT.mediaType, media))
    if record.licence:
        graph.add((distribution, DCTERMS.license, _licence(graph, record.licence)))
    if condition := record.openness.condition or record.sharing.condition:
        rights = BNode()
        graph.add((rights, RDF.type, DCTERMS.RightsStatement))
        graph.add((rights, RDFS.label, _words(condition)))
        graph.add((distribution, DCTERMS.rights, rights))


def _add_coverage(graph: Graph, dataset: URIRef, entry: Entry) -> None:
    """Languages, place and time. A place in words is named; a geometry is left to the formats that carry one."""
    for language in languages(entry.record):
        if code := EU_LANGUAGE.get(language):
            node = _typed(graph, eu("language", code), DCTERMS.LinguisticSystem)
            graph.add((dataset, DCTERMS.language, node))
    place = BNode()
    graph.add((dataset, DCTERMS.spatial, place))
    graph.add((place, RDF.type, DCTERMS.Location))
    spatial = entry.record.spatial
    if spatial and not spatial.startswith(("{", "[")):
        graph.add((place, SKOS.prefLabel, _words(spatial)))
    else:
        _both(graph, place, SKOS.prefLabel, Text(entry.place.name, entry.place.name_en))
        graph.add((place, DCTERMS.identifier, Literal(entry.place.code)))
    first, last = entry.period
    if first or last:
        period = BNode()
        graph.add((dataset, DCTERMS.temporal, period))
        graph.add((period, RDF.type, DCTERMS.PeriodOfTime))
        for predicate, day in ((DCAT.startDate, first), (DCAT.endDate, last)):
            if day:
                graph.add((period, predicate, _moment(day)))


def _agency(graph: Graph, agency: Agency | None, site: Site) -> URIRef:
    """The agency as a node; without one, the service itself."""
    node = URIRef(site.agency(agency.id) if agency else f"{site.url}/#service")
    name = agency.name if agency else SERVICE_NAME
    graph.add((node, RDF.type, FOAF.Agent))
    graph.add((node, RDF.type, ORG.Organization))
    graph.add((node, FOAF.name, Literal(_plain(name))))
    graph.add((node, SKOS.prefLabel, _words(name)))
    if agency and agency.name_en and agency.name_en != name:
        graph.add((node, SKOS.altLabel, _words(agency.name_en, english=True)))
    if agency and agency.credit_code:
        graph.add((node, SKOS.notation, Literal(agency.credit_code)))
    return node


def _contact(graph: Graph, entry: Entry, site: Site) -> BNode:
    """Whom to ask: as the record says, else the agency by way of the service."""
    given, kind = entry.record.contact, BNode()
    graph.add((kind, RDF.type, VCARD.Kind))
    graph.add((kind, RDF.type, VCARD.Organization))
    graph.add((kind, VCARD.fn, Literal(_plain(given.name or entry.agency.name))))
    graph.add((kind, VCARD.hasEmail, URIRef(f"mailto:{mailbox(given.email) or site.contact}")))
    if given.telephone and (digits := re.sub(r"[^\d+]", "", given.telephone)):
        graph.add((kind, VCARD.hasTelephone, URIRef(f"tel:{digits}")))
    return kind


def mailbox(text: str | None) -> str | None:
    """The text as an e-mail address, or None where it is none."""
    found = re.fullmatch(r"(?:mailto:)?([\w.!$&'*+=~-]+@[\w-]+(?:\.[\w-]+)+)", (text or "").strip(), re.ASCII)
    return found[1] if found else None


def _themes(graph: Graph, theme: Theme, site: Site) -> list[URIRef]:
    own = URIRef(f"{site.url}/catalog?theme={theme.value}#theme")
    _add_concept(graph, own, _own_themes(site))
    _both(graph, own, SKOS.prefLabel, THEMES[theme])
    if theme not in EU_THEME:
        return [own]
    code, name = EU_THEME[theme]
    theirs = URIRef(eu("data-theme", code))
    _add_concept(graph, theirs, _scheme(graph, _EU_THEMES, Text("主题", "Data theme")))
    graph.add((theirs, SKOS.prefLabel, Literal(name, lang="en")))
    return [own, theirs]


def _own_themes(site: Site) -> URIRef:
    return URIRef(f"{site.url}/catalog#themes")


def _add_concept(graph: Graph, concept: URIRef, scheme: Node) -> None:
    graph.add((concept, RDF.type, SKOS.Concept))
    graph.add((concept, SKOS.inScheme, scheme))


def _scheme(graph: Graph, scheme: URIRef, name: Text) -> URIRef:
    graph.add((scheme, RDF.type, SKOS.ConceptScheme))
    _both(graph, scheme, DCTERMS.title, name)
    return scheme


def _licence(graph: Graph, licence: str) -> Node:
    address = web_address(licence) or LICENCES.get(licence)
    if address:
        return _typed(graph, address, DCTERMS.LicenseDocument)
    node = BNode()
    graph.add((node, RDF.type, DCTERMS.LicenseDocument))
    graph.add((node, RDFS.label, _words(licence)))
    return node


def _document(graph: Graph, address: str, title: Text) -> URIRef:
    node = URIRef(address)
    graph.add((node, RDF.type, FOAF.Document))
    graph.add((node, DCTERMS.title, _words(title.zh)))
    return node


def _typed(graph: Graph, address: str, kind: URIRef) -> URIRef:
    node = URIRef(address)
    graph.add((node, RDF.type, kind))
    return node


def _both(graph: Graph, subject: Node, predicate: URIRef, text: Text) -> None:
    graph.add((subject, predicate, Literal(_plain(text.zh), lang="zh")))
    graph.add((subject, predicate, Literal(_plain(text.en), lang="en")))


def _words(text: str, *, english: bool = False) -> Literal:
    """A text with its language where that is known: Chinese by its characters, English where the record says."""
    language = "en" if english else "zh" if _CHINESE.search(text) else None
    return Literal(_plain(text), lang=language)


def _plain(text: str) -> str:
    return _UNWRITABLE.sub("", text)


def _moment(text: str) -> Literal:
    return Literal(text, datatype=XSD.date if date_in(text) == text else XSD.dateTime)


def _new_graph() -> Graph:
    graph = Graph(bind_namespaces="none")
    for prefix, space in _PREFIXES.items():
        graph.bind(prefix, space)
    return graph
