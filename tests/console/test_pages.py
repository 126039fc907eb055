"""The console: every page in both languages for whom it is, nothing for strangers, and a share from request to
agreement through forms alone."""

from __future__ import annotations

import re

import pytest

from app.identity import sessions
from app.identity.permissions import operations_of
from app.kernel.actor import Role
from tests.console.conftest import Browser, Desks

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR


def test_home_of_nobody_is_the_open_catalog(desks: Desks) -> None:
    browser = desks.browser()
    assert "开放数据目录" in browser.open("/")
    assert "Open catalog" in browser.open("/", language="en")
    assert browser.open("/catalog?q=婚姻&sharing_type=conditional&theme=public_service")


def test_a_page_that_needs_a_person_leads_to_sign_in_and_back(desks: Desks) -> None:
    browser = desks.browser()
    browser.open("/negotiations?waiting=true")
    assert browser.address == "/sign-in"
    assert 'name="next" value="/negotiations?waiting=true"' in browser.page
    person = desks.world.town.person("civil", CLERK)
    browser.send("/sign-in", expect=401, login=person.login, secret="wrong")
    assert "登录名或口令不正确" in browser.page
    desks.of("civil", CLERK)
    held = desks.of("civil", CLERK)
    held.send("/password", expect=422, password="simple", again="simple")
    held.send("/password", password="Correct-horse-9", again="Correct-horse-9")
    browser.send("/sign-in", login=person.login, secret="Correct-horse-9")
    assert browser.address == "/negotiations"


@pytest.mark.parametrize("elsewhere", ["//evil.example/", "https://evil.example/", "/\\evil.example"])
def test_sign_in_leads_nowhere_else(desks: Desks, elsewhere: str) -> None:
    browser = desks.browser()
    browser.open(f"/sign-in?next={elsewhere}")
    assert 'name="next" value="/"' in browser.page
