"""Another catalog fetched whole: by the CKAN API, or as a DCAT feed in one file or in pages.

Owns how it is asked, never what it means. Speaks with others through the guarded client alone.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from typing import BinaryIO, Literal
from urllib.parse import urlencode, urljoin, urlsplit

from pydantic import JsonValue
from rdflib import Graph, URIRef

from app.kernel.errors import Problem
from app.kernel.outbound import NotReachable, Outbound
from app.kernel.text import Text
from catalog.formats.ckan import MARK
from catalog.formats.dcat_ap import Syntax, parse
from catalog.formats.reading import ROW_LIMIT, UPLOAD_LIMIT_BYTES, FileTooLarge
from catalog.interop.dcat import HYDRA

Kind = Literal["ckan", "dcat"]
PAGE_ROWS = 200
PAGE_LIMIT_BYTES = 32 << 20
PAGES_LIMIT = 2_000
REQUEST_TIMEOUT_S = 120.0
TIME_LIMIT_S = 900.0  # for the whole catalog
_ACCEPT = "text/turtle, application/ld+json;q=0.9, application/rdf+xml;q=0.8, application/json;q=0.7"
_SYNTAXES: Mapping[str, Syntax] = {
    "text/turtle": "turtle", "application/n-triples": "turtle", "application/ld+json": "json-ld",
    "application/rdf+xml": "xml", "application/xml": "xml", "text/xml": "xml",
}  # fmt: skip


class AnswersOddly(Problem):
    """The other catalog answered, and not as its kind does."""

    status, slug = 502, "answers-oddly"
    title = Text("对方目录的应答不符合约定", "The other catalog does not answer as it should")


def fetch(outbound: Outbound, kind: Kind, url: str, into: BinaryIO) -> str:
    """Write the catalog at `url` into a file that an import reads; returns a name for the file.

    Errors: NotReachable, AnswersOddly, FileTooLarge, FileRefused.
    """
    source = _Source(outbound, url)
    name = source.ckan(into) if kind == "ckan" else source.dcat(into)
    into.seek(0)
    return name


class _Source:
    """One catalog while it is fetched, within its limits."""

    def __init__(self, outbound: Outbound, url: str) -> None:
        self.outbound, self.url = outbound, url
        self.deadline = time.monotonic() + TIME_LIMIT_S
        self.host = urlsplit(url).hostname or "catalog"

    def ckan(self, into: BinaryIO) -> str:
        """All packages by package_search, which pages; in a stable order, each once."""
        base = self.url.rstrip("/").removesuffix("/api/3/action").removesuffix("/api/3").removesuffix("/api")
        into.write(b'{"%s":%s,"packages":[' % (MARK.encode(), json.dumps(base).encode()))
        seen: set[str] = set()
        start = 0
        while True:
            query = urlencode({"q": "*:*", "rows": PAGE_ROWS, "start": start, "sort": "name asc"})
            found, total = self._packages(f"{base}/api/3/action/package_search?{query}")
            for package in found:
                identity = str(package.get("id"))
                if identity not in seen:
                    into.write(b",\n" if seen else b"\n")
                    into.write(json.dumps(package, ensure_ascii=False).encode())
                    seen.add(identity)
            start += len(found)
            if not found or start >= total:
                break
            if len(seen) > ROW_LIMIT or into.tell() > UPLOAD_LIMIT_BYTES:
                raise FileTooLarge(limit=UPLOAD_LIMIT_BYTES)
        into.write(b"\n]}")
        return f"{self.host}-ckan.json"

    def _packages(self, url: str) -> tuple[list[dict[str, JsonValue]], int]:
        body, _ = self._get(url, "application/json")
        try:
            answer = json.loads(body)
            result = answer["result"] if answer["success"] is True else {}
            found, total = result["results"], int(result["count"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            message = Text("不是 CKAN 接口的应答：{url}。", "Not the answer of a CKAN API: {url}.")
            raise AnswersOddly(message.with_(url=url)) from error
        if not isinstance(found, list):
            raise AnswersOddly()
        return [package for package in found if isinstance(package, dict)], total

    def dcat(self, into: BinaryIO) -> str:
        """A feed in one file as it came; one in pages (hydra:next) as one graph."""
        body, media = self._get(self.url, _ACCEPT)
        syntax = _SYNTAXES.get(media)
        following, graph = None, Graph(bind_namespaces="none")
        if syntax is not None:
            graph = self._parsed(body, syntax, self.url)
            following = self._following(graph, self.url)
        if following is None:
            into.write(body)
            return f"{self.host}-{urlsplit(self.url).path.rpartition('/')[2] or 'catalog'}"
        visited = {self.url}
        while following is not None and following not in visited:
            visited.add(following)
            if len(visited) > PAGES_LIMIT:
                raise FileTooLarge(Text("页数超过 {n}。", "More than {n} pages.").with_(n=PAGES_LIMIT))
            body, media = self._get(following, _ACCEPT)
            page = self._parsed(body, _SYNTAXES.get(media) or "turtle", following)
            following = self._following(page, following)
            graph += page
        into.write(b"@prefix dcat: <http://www.w3.org/ns/dcat#> .\n")
        into.write(graph.serialize(format="nt", encoding="utf-8"))
        if into.tell() > UPLOAD_LIMIT_BYTES:
            raise FileTooLarge(limit=UPLOAD_LIMIT_BYTES)
        return f"{self.host}-catalog.nt"

    def _parsed(self, body: bytes, syntax: Syntax, base: str) -> Graph:
        document: JsonValue = None
        if syntax == "json-ld":
            try:
                document = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise AnswersOddly() from error
        return parse(io.BytesIO(body), syntax, document, base)

    def _following(self, graph: Graph, page: str) -> str | None:
        """The next page, if it is named and stands where this one does."""
        for node in graph.objects(None, HYDRA.next):
            address = urljoin(page, str(node))
            if isinstance(node, URIRef) and urlsplit(address)[:2] == urlsplit(self.url)[:2]:
                return address
        return None

    def _get(self, url: str, accept: str) -> tuple[bytes, str]:
        left = self.deadline - time.monotonic()
        if left <= 0:
            message = Text("采集用时超过 {s} 秒。", "Fetching took over {s} s.").with_(s=int(TIME_LIMIT_S))
            raise NotReachable(message)
        answer = self.outbound.send(
            "GET", url, headers={"Accept": accept}, limit_bytes=PAGE_LIMIT_BYTES,
            timeout_s=min(left, REQUEST_TIMEOUT_S),
        )  # fmt: skip
        if not answer.ok:
            message = Text("{url} 应答 {status}。", "{url} answers {status}.")
            raise AnswersOddly(message.with_(url=url, status=answer.status))
        return answer.body, answer.headers.get("content-type", "").partition(";")[0].strip().lower()
