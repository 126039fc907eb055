"""The agreement as ODRL and as a page for people in both languages."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

import pytest
from httpx2 import Response

from app.kernel.actor import Role
from tests.exchange.world import Json, World, terms, to


@pytest.fixture
def agreement(world: World) -> Json:
    """An agreement with masks, a scope, and text that would be markup if it were not escaped."""
    resource = world.publish()
    agreed = terms(
        resource, scope="amount >= 100", disposal="<script>alert(1)</script>", security_measures="专网、加密"
    )
    agreed["resources"][0]["items"] = [
        {"code": "name"},
        {"code": "id_number", "mask": {"kind": "last_n", "keep": 4}},
        {"code": "registered_on", "mask": {"kind": "year_only"}, "filter_on_masked": True},
    ]
    drafted = world.call(
        "POST", "/requests", "health", Role.CLERK, body={"title": "核验", "terms": agreed}, expect=201
    )
    filed = world.act(drafted, "file", "health", Role.APPROVER)
    case = world.read("negotiations", filed["negotiations"][0]["id"], "civil")
    done = world.act(case, "agree", "civil", Role.APPROVER, to(case["terms"]))
    return world.read("agreements", done["agreement_id"], "health")


def get(world: World, path: str, agency: str = "health", **headers: str) -> Response:
    given = {**world.headers(agency, Role.CLERK), **headers}
    world.session.flush()
    answer: Response = world.client.get(f"/api/v1/agreements/{path}", headers=given)
    return answer


def test_odrl_says_all_terms(world: World, agreement: Json) -> None:
    answer = get(world, f"{agreement['id']}/odrl")
    assert answer.headers["content-type"] == "application/ld+json"
    policy: dict[str, Any] = json.loads(answer.content)
    assert policy["@type"] == "Agreement"
    assert policy["assigner"] == f"urn:uuid:{agreement['provider']['id']}"
    assert policy["zt:termsHash"] == agreement["terms_hash"]
    (permission,) = policy["permission"]
    resource = agreement["terms"]["resources"][0]
    assert permission["target"]["source"] == f"urn:uuid:{resource['resource_id']}"
    assert [i["zt:mask"] for i in permission["target"]["zt:items"]] == [i["mask"] for i in resource["items"]]
    assert permission["target"]["refinement"][0]["rightOperand"] == "amount >= 100"
    limits = {(c["leftOperand"], c["operator"]): c["rightOperand"] for c in permission["constraint"]}
    assert limits["dateTime", "lteq"]["@value"] == "2027-09-17"
    assert limits["zt:rowsPerCall", "lteq"] == 100
    assert limits["purpose", "isAnyOf"][0]["zt:legalBasis"] == "某条例第八条"
    assert permission["duty"][0]["constraint"][0]["rightOperand"]["@value"] == "P30D"


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("zh-CN", ["政务数据共享协议", "公民身份号码", "仅留末 4 位", "仅留年份，可作查询条件", "测试市民政局",
                   "《政务数据共享条例》第二十条", "单次 100 条", "核验婚姻状况", "专网、加密", "协商一致"]),
        ("en", ["Government data sharing agreement", "last 4 characters only", "year only, may be filtered on",
                "Civil", "Decree 809 Art. 20", "100 rows a call", "30 days", "negotiated"]),
    ],
)  # fmt: skip
def test_the_document_says_all_in_words(
    world: World, agreement: Json, language: str, said: list[str]
) -> None:
    answer = get(world, f"{agreement['id']}/document", **{"accept-language": language})
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-language"] == language
    page = answer.text
    for words in (
        *said,
        agreement["terms_hash"],
        agreement["content_hash"],
        "amount &gt;= 100",
        "2026年9月18日 09:00:00（北京时间）" if language == "zh-CN" else "2026-09-18 09:00:00 (UTC+8)",
    ):
        assert words in page, words
    for consent in agreement["consents"]:
        assert consent["kind"] == "approver"
    for agency in ("civil", "health"):
        assert world.town.person(agency, Role.APPROVER).name in page
    assert "<script" not in page
    assert f'lang="{language}"' in page
    assert "@media print" in page
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]


def test_the_content_type_is_the_readers_choice(world: World, agreement: Json) -> None:
    path = f"{agreement['id']}/document"
    assert get(world, path, accept="application/ld+json").headers["content-type"] == "application/ld+json"
    assert get(world, path, accept="text/html,*/*;q=0.1").headers["content-type"].startswith("text/html")
    refused = get(world, path, accept="image/png")
    available = ["text/html", "application/pdf", "application/ld+json"]
    assert (refused.status_code, refused.json()["available"]) == (406, available)


def words_in(pdf: bytes) -> str:
    """What a PDF's pages show: Chinese is kept as UTF-16 there, Latin letters as they are."""
    pages = [
        zlib.decompress(base64.a85decode(stream.strip(), adobe=False))
        for stream in re.findall(rb"stream\r?\n(.*?)~>\s*endstream", pdf, re.DOTALL)
    ]
    found = []
    for text in re.findall(rb"\((.*?)(?<!\\)\) Tj", b"".join(pages), re.DOTALL):
        raw = re.sub(rb"\\([0-7]{3}|.)", lambda m: bytes([int(m[1], 8)]) if len(m[1]) == 3 else m[1], text)
        is_chinese = any(byte > 0x7F or byte < 0x20 for byte in raw) and len(raw) % 2 == 0
        found.append(raw.decode("utf-16-be" if is_chinese else "latin-1", "replace"))
    return "".join(found)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("zh-CN", ["政务数据共享协议", "测试市民政局", "需求方", "专网、加密"]),
        ("en", ["Government data sharing agreement", "Civil", "<script>alert(1)</script>"]),
    ],
)
def test_the_same_on_paper(world: World, agreement: Json, language: str, said: list[str]) -> None:
    asked = {"accept": "application/pdf", "accept-language": language}
    first = get(world, f"{agreement['id']}/document", **asked)
    assert (first.headers["content-type"], first.content[:5]) == ("application/pdf", b"%PDF-")
    shown = words_in(first.content)
    for words in (*said, agreement["terms_hash"][:40], "amount >= 100"):
        assert words in shown, (words, shown)
    assert get(world, f"{agreement['id']}/document", **asked).content == first.content


def test_the_certificate_of_disposal(world: World, agreement: Json) -> None:
    path = f"{agreement['id']}/disposal"
    assert get(world, path).status_code == 404
    done = world.act(agreement, "complete", "health", Role.APPROVER, {})
    body = {"disposed_on": "2026-09-18", "disposal": "覆写三遍后删除，备份介质销毁"}
    world.act(done, "certify_disposal", "health", Role.APPROVER, body)
    page = get(world, path, "civil", **{"accept-language": "zh-CN"}).text
    person = world.town.person("health", Role.APPROVER).name
    for words in (
        "处置证明",
        "覆写三遍后删除",
        person,
        "2026年9月18日",
        "第二十七条",
        agreement["content_hash"],
    ):
        assert words in page, words
    assert "覆写三遍" in words_in(get(world, path, accept="application/pdf").content)


def test_documents_are_for_those_concerned(world: World, agreement: Json) -> None:
    for kind in ("odrl", "document"):
        assert get(world, f"{agreement['id']}/{kind}", "market").status_code == 404
        assert get(world, f"{agreement['id']}/{kind}", "civil").status_code == 200


def test_consent_by_policy_is_told_as_such(world: World) -> None:
    case = world.filed(world.publish(sharing="unconditional"))
    page = get(world, f"{case['agreement_id']}/document").text
    assert "published as shared unconditionally" in page
