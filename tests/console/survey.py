"""Every page that somebody can open: what a walk along the links of everybody's pages finds."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.console import view
from tests.conftest import PUBLIC_URL

OF_EACH = int(os.environ.get("ZHENGTONG_SOAK_PAGES", "4"))  # pages of one template that serves many
MANY = 24  # kinds of address by which a template counts as one that serves many
LIKE_EACH = 2  # links of one kind that are followed from one person's pages
NO_LINK = ("/static/", "/api/", "/openapi", "/ledger/", "#", "/suggestions")
ERRORS = ("/no-such-page", "/people", "/ledger?entry=nothing", "/catalog?sort=nothing")


@dataclass
class Page:
    """A page that somebody can open, and how much stands on it."""

    who: str
    address: str
    size: int


@dataclass
class Survey:
    """The pages of everybody by template and kind of address, and the templates that went into them."""

    pages: dict[tuple[str, str], list[Page]] = field(default_factory=lambda: defaultdict(list))
    templates: set[str] = field(default_factory=set)

    def chosen(self) -> list[tuple[str, Page]]:
        """Of each kind the fullest and the emptiest; of a template that serves many kinds so many of them."""
        by_template: dict[str, list[tuple[str, list[Page]]]] = defaultdict(list)
        for (template, kind), found in sorted(self.pages.items()):
            by_template[template].append((kind, sorted(found, key=lambda page: page.size)))
        told = []
        for template, kinds in by_template.items():
            fullest = sorted(kinds, key=lambda kind: -kind[1][-1].size)
            for _, found in fullest if len(kinds) <= MANY else [*fullest[:OF_EACH], *fullest[-OF_EACH:]]:
                told += [(template, page) for page in ([found[0], found[-1]] if len(found) > 1 else found)]
        return told


def surveyed(app: FastAPI, people: Mapping[str, Mapping[str, str]]) -> Survey:
    """Everybody follows every kind of link from the home page. `people` have their credentials as headers."""
    found, used = Survey(), list[str]()
    environment = view._ENVIRONMENTS["zh-CN"]
    get_template = environment.get_template

    def noted(name: Any, *more: Any, **how: Any) -> Any:
        used.append(str(name))
        return get_template(name, *more, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "get_template", noted)
        for who, credential in people.items():
            client = TestClient(app, base_url=PUBLIC_URL, headers={"accept": "text/html", **credential})
            _walk(client, who, found, used)
    return found


def _walk(client: TestClient, who: str, found: Survey, used: list[str]) -> None:
    waiting, seen, like = ["/", *ERRORS], set[str](), defaultdict[str, int](int)
    while waiting:
        address = waiting.pop(0)
        if address in seen:
            continue
        seen.add(address)
        used.clear()
        answer = client.get(address, follow_redirects=False)
        if not used or "text/html" not in answer.headers.get("content-type", ""):
            continue
        assert answer.status_code < 500, (who, address)
        found.templates |= set(used)
        found.pages[used[0], kind_of(address)].append(Page(who, address, len(answer.text)))
        for link in re.findall(r'href="(/[^"]*)', answer.text):
            onward = unescape(link).partition("#")[0]
            if onward.startswith(NO_LINK) or like[kind_of(onward)] >= LIKE_EACH or "lang=" in onward:
                continue
            like[kind_of(onward)] += 1
            waiting.append(onward)


def kind_of(address: str) -> str:
    """The address without what it names: its path with ID for every id, and which questions it asks."""
    path, _, query = address.partition("?")
    return re.sub("[0-9a-f-]{36}", "ID", path) + "".join(sorted(set(re.findall(r"(\w+)=", query))))
