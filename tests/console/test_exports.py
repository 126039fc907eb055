"""The catalog leaves its pages as files."""

from __future__ import annotations

import re

from app.kernel.actor import Role
from tests.console.conftest import Desks


def test_the_catalog_is_exported_from_its_pages(desks: Desks) -> None:
    desks.world.publish()
    clerk = desks.of("civil", Role.CLERK)
    for page in ("/records", "/catalog"):
        files = re.findall(r'href="(/api/v1/exports/[^"]+)"', clerk.open(page))
        assert [file.partition("?")[0].rpartition(".")[2] for file in files] == ["xlsx", "csv"]
        for file in files:
            answer = clerk.client.get(file.replace("&amp;", "&"))
            assert answer.status_code == 200
            assert answer.headers["content-disposition"].startswith("attachment")
        assert "婚姻登记" in answer.text, "the CSV has the record"
    assert "/api/v1/exports/" not in desks.browser().open("/catalog")
