"""Browsers at the console: each with its own cookies, signed in through the sign-in page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
from httpx2 import Response
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity import sessions
from app.kernel import clock
from app.kernel.actor import Role
from tests.conftest import PUBLIC_URL
from tests.exchange.world import START, World
from tests.factories import OPERATOR, Town

PAGE = {"accept": "text/html,application/xhtml+xml", "accept-language": "zh-CN"}


class Browser:
    """Somebody's browser. Follows redirects as browsers do; `forms` are sent as the page has them."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.page = ""
        self.address = "/"

    def open(self, address: str, *, expect: int = 200, language: str | None = None) -> str:
        """The page at an address after redirects; fails unless its status is `expect`."""
        headers = {"accept-language": language} if language else {}
        return self._keep(self.client.get(address, headers=headers, follow_redirects=True), expect)

    def send(
        self, action: str, entered: Mapping[str, Any] | None = None, *, expect: int = 200, **more: Any
    ) -> str:
        """Fill in and send the page's form to `action`; hidden and chosen fields go as they stand. Where the page
        leads to the form by a link, that is followed first."""
        if f'action="{action}"' not in self.page and f'href="{action}"' in self.page:
            self.open(action)
        fields = {**self.fields(action), **(entered or {}), **more}
        headers = {"sec-fetch-site": "same-origin", "origin": PUBLIC_URL}
        answer = self.client.post(action, data=fields, headers=headers, follow_redirects=True)
        return self._keep(answer, expect)

    def fields(self, action: str) -> dict[str, Any]:
        """The fields of the page's form to `action`, as a browser would send them untouched."""
        found = re.search(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', self.page, re.S)
        assert found, f"no form to {action} on {self.address}"
        fields: dict[str, Any] = {}
        for tag in re.findall(r"<input[^>]*>", found[1]):
            at = dict(re.findall(r'([a-z-]+)="([^"]*)"', tag))
            if "disabled" in tag or (at.get("type") == "checkbox" and " checked" not in tag):
                continue
            fields.setdefault(at["name"], []).append(unescape(at.get("value", "")))
        for name, options in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', found[1], re.S):
            chosen = re.search(r'value="([^"]*)"[^>]* selected', options) or re.search(
                r'value="([^"]*)"', options
            )
            fields[name] = unescape(chosen[1]) if chosen else ""
        for name, text in re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', found[1], re.S):
            fields[name] = unescape(text)
        return fields

    def _keep(self, answer: Response, expect: int) -> str:
        assert answer.status_code == expect, f"{answer.url}: {answer.status_code}\n{answer.text[-3000:]}"
        self.page, self.address = answer.text, urlsplit(str(answer.url)).path
        return answer.text


class Desks:
    """People of the town at their browsers."""

    def __init__(self, world: World, client: TestClient) -> None:
        self.world, self.client = world, client
        self._signed_in: dict[tuple[Any, ...], Browser] = {}

    def browser(self) -> Browser:
        """A browser in which nobody is signed in."""
        return Browser(TestClient(self.client.app, base_url=PUBLIC_URL, headers=PAGE))

    def of(self, agency: str, *roles: Role, number: int = 1) -> Browser:
        """The browser of this person, signed in through the page with a one-time secret."""
        key = (agency, roles, number)
        if key not in self._signed_in:
            person = self.world.town.person(agency, *roles, number=number)
            secret = sessions.issue_one_time_secret(self.world.session, person, by=OPERATOR)
            self.world.session.flush()
            browser = self.browser()
            browser.open("/sign-in")
            browser.send("/sign-in", login=person.login, secret=secret)
            assert browser.address == "/password"
            self._signed_in[key] = browser
        return self._signed_in[key]


@pytest.fixture
def desks(session: Session, client: TestClient) -> Iterator[Desks]:
    """The console, in the same transaction as `session`; the clock stands still."""
    with clock.frozen(START):
        yield Desks(World(session, Town(session), client), client)
