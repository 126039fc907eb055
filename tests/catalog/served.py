"""The catalog served over HTTP for clients that other people wrote: committed, indexed, on a free port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from app.kernel.actor import Role
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.main import create_app
from app.settings import Settings
from catalog.resources.importing import ImportState, Incoming, upsert_imported
from catalog.search.indexing import run_once
from tests.catalog.samples import OPEN, record
from tests.factories import OPERATOR, Town
from tests.serving import serving

LAMPS: dict[str, Any] = {
    "title": "路灯清册", "title_en": "Street lamps", "abstract": "全市路灯", "keywords": ["路灯", "照明"], "themes": ["construction"],
    "items": [{"name": "编号", "code": "bh"}], "licence": "https://creativecommons.org/licenses/by/4.0/",
    "format": {"format_class": "spreadsheet", "type": "csv"}, "update_cycle": "monthly", "spatial": "测试市",
    "sharing": {"type": "unconditional", "mode": {"channel": "platform", "type": "file"}},
    "openness": {"type": "unconditional"}, "temporal": "2024-01-01/2024-12-31",
    "distributions": [{"title": "全市", "format": "CSV", "download_url": "https://open.test/lamps.csv"}],
}  # fmt: skip
TREES: dict[str, Any] = {
    "title": "行道树", "title_en": "Street trees", "abstract": "全市树木", "keywords": ["树木", "照明"], "themes": ["environment"],
    "update_cycle": "yearly", **OPEN,
}  # fmt: skip
MARRIAGES: dict[str, Any] = {"title": "婚姻登记信息", "keywords": ["婚姻"]}  # shared on conditions, not open


@dataclass(frozen=True)
class Served:
    """A running service: lamps (civil) and trees (market) open, marriages (health) not, a draft of civil's."""

    url: str
    town: Town
    clerk: dict[str, str]  # headers of a clerk of civil


@contextmanager
def served(database: Database, keys: ServiceKeys, folder: Path) -> Iterator[Served]:
    with database.transaction() as session:
        town = Town(session)
        clerk = town.headers("civil", Role.CLERK)
        stock: list[tuple[str, ImportState, dict[str, Any]]] = [
            ("civil", "published", LAMPS), ("market", "published", TREES),
            ("health", "published", MARRIAGES), ("civil", "draft", {**LAMPS, "title": "路灯草稿"}),
        ]  # fmt: skip
        for agency, state, values in stock:
            one = Incoming(town.agencies[agency], record(**{**values, "source_id": values["title"]}))
            upsert_imported(session, [one], source="s", as_state=state, by=OPERATOR)

    def make(url: str) -> FastAPI:
        app = create_app(Settings(data=folder, database_url="", public_url=url), database, keys)
        run_once(database, app.state.index)
        return app

    with serving(make) as url:
        yield Served(url, town, clerk)
