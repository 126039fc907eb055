"""Every template, in both languages, empty, full and refusing what was entered: axe finds nothing, nothing scrolls
sideways at 320 px, no script, policy or console complains, no text is left untranslated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from app.console import view
from app.identity.models import Person
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from tests.console.hands import Hands, chromium
from tests.console.survey import Survey, kind_of, surveyed
from tests.estate import estate_on
from tests.serving import serving_app
from tests.stage import Stage

pytestmark = pytest.mark.soak

HAN = re.compile("[\u4e00-\u9fff]+")
WORDS = """
() => { const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walk.nextNode()) { const node = walk.currentNode
    if (/[\u4e00-\u9fff]/.test(node.data) && !node.parentElement.closest('[lang|=zh]')) found.push(node.data.trim()) }
  for (const element of document.querySelectorAll('[aria-label], [title], [placeholder], [alt]'))
    for (const name of ['aria-label', 'title', 'placeholder', 'alt'])
      if (/[\u4e00-\u9fff]/.test(element.getAttribute(name) || '')) found.push(element.getAttribute(name))
  return found }
"""


@pytest.fixture(scope="module")
def stage(
    shared_database: Database, keys: ServiceKeys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with estate_on(shared_database, keys, tmp_path_factory.mktemp("data")) as estate:
        everybody = Stage(estate)
        everybody.keep_nothing()
        yield everybody


@pytest.fixture(scope="module")
def people(stage: Stage) -> dict[str, dict[str, str]]:
    """A credential for everybody of the stage, and for nobody."""
    return {
        "nobody": {},
        **stage.of("provider", "requester", "authority"),
        "stranger 0": stage.people["stranger"][0],
    }


@pytest.fixture(scope="module")
def survey(stage: Stage, people: dict[str, dict[str, str]]) -> Survey:
    return surveyed(stage.app, people)


def test_everybody_meets_every_template(survey: Survey) -> None:
    folder = view.FOLDER / "templates"
    all_ = {path.relative_to(folder).as_posix() for path in folder.rglob("*.html")}
    parts = {part for template in all_ for part in included(folder / template)}
    assert all_ - parts - survey.templates == ALONE


# Rendered by a POST alone: the secret that is shown once, the page of an act that has passed.
ALONE = {"administration/secret.html", "closed.html"}


def included(template: Path) -> set[str]:
    named = re.findall(r'{% (?:include|import|extends) "([^"]+)"', template.read_text("utf-8"))
    acts = (view.FOLDER / "pages").rglob("*.py")
    return {
        *named,
        *(part for path in acts for part in re.findall(r'part="([^"]+)"', path.read_text("utf-8"))),
    }


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_every_page_is_for_everybody(
    stage: Stage, people: dict[str, dict[str, str]], survey: Survey, language: str
) -> None:
    axe_of = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    held = stage.estate.world.session
    held.execute(update(Person).values(locale=language))
    held.commit()
    known = _everything_written(stage)
    wrong, sent = list[str](), set[str]()
    with chromium() as browser, serving_app(stage.app) as url:
        hands = {
            who: Hands(browser, url, language, extra_http_headers=credential)
            for who, credential in people.items()
            if who in {page.who for _, page in survey.chosen()}
        }
        for template, page in survey.chosen():
            at = hands[page.who]
            at.open(page.address)
            wrong += [
                f"{template} {page.address} ({page.who}): {what}"
                for what in _complaints(at, axe_of, language, known)
            ]
            for n, action in enumerate(at.page.evaluate(ACTIONS)):
                if kind_of(action) in sent:
                    continue
                sent.add(kind_of(action))
                at.open(page.address)
                with at.page.expect_navigation() as told:
                    at.page.locator(FORMS).nth(n).evaluate("form => form.submit()")
                if told.value.status >= 400:
                    wrong += [
                        f"{template} {page.address} refused: {what}"
                        for what in _complaints(at, axe_of, language, known)
                    ]
        wrong += [fault for one in hands.values() for fault in one.faults]
    assert not wrong, "\n".join(dict.fromkeys(wrong))


DECIDING = {"resultTypes": ["violations", "incomplete"]}
FORMS = 'main form[method="post"]'
ACTIONS = f"() => [...document.querySelectorAll('{FORMS}')].map(form => new URL(form.action).pathname)"
# What axe leaves undecided: the background of text in a picture, and of a tag that is higher than its line. There
# the contrast is computed from what the stylesheet says (WCAG 2.2, 1.4.3).
UNDECIDED = (".chart", "h1 .tag")
CONTRAST = """
() => { const light = colour => { const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(one => one / 255)
    .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((m, n) => n - m); return (x + 0.05) / (y + 0.05) }
  const style = element => getComputedStyle(element), low = []
  for (const tag of document.querySelectorAll('.tag'))
    if (ratio(style(tag).color, style(tag).backgroundColor) < 4.5) low.push(tag.outerHTML)
  for (const words of document.querySelectorAll('.chart text'))
    for (const behind of [words.closest('.scroll'), ...words.closest('svg').querySelectorAll('rect.node')]) {
      const under = behind.tagName === 'rect' ? style(behind).fill : style(behind).backgroundColor
      if (ratio(style(words).fill, under) < 4.5) low.push(words.outerHTML) }
  return low.slice(0, 5) }
"""


def _complaints(at: Hands, axe: Any, language: str, known: str) -> Iterator[str]:
    told = axe.run(at.page, options=DECIDING).response
    for kind in ("violations", "incomplete"):
        for rule in told[kind]:
            nodes = [node["html"][:120] for node in rule["nodes"] if not _computed(at, rule["id"], node)]
            if nodes:
                yield f"{kind} {rule['id']}: {nodes[:3]}"
    for low in at.page.evaluate(CONTRAST):
        yield f"contrast: {low}"
    at.page.set_viewport_size({"width": 320, "height": 700})
    if (width := at.page.evaluate("document.documentElement.scrollWidth")) > 320:
        yield f"{width} px wide at 320"
    at.page.set_viewport_size({"width": 1280, "height": 900})
    if language == "en":
        for words in at.page.evaluate(WORDS):
            if any(run not in known for run in HAN.findall(words)):
                yield f"not in English: {words[:80]}"


def _computed(at: Hands, rule: str, node: Any) -> bool:
    """Whether the contrast of what axe leaves undecided is computed here."""
    if rule != "color-contrast":
        return False
    held = "(element, all) => all.some(one => element.matches(`${one}, ${one} *`))"
    element = at.page.query_selector(node["target"][0])
    return element is not None and bool(element.evaluate(held, UNDECIDED))


def _everything_written(stage: Stage) -> str:
    """What people and agencies wrote, in whatever language: that is not the console's to translate."""
    tables = stage.connection.execute(
        text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    ).scalars()
    return "\n".join(
        row or ""
        for table in tables.all()
        for row in stage.connection.execute(
            text(f'SELECT string_agg(t::text, chr(10)) FROM "{table}" t')
        ).scalars()
    )
