"""The whole story against the whole service, in processes as `make run` starts them; and killed in the middle.

One service is started for the module: it plays the story once by itself, the tests play it again.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.demo.load import one_time_secrets
from app.demo.scenario import CAST, play
from app.demo.stage import StepFailed
from app.demo.story import Story
from app.kernel.db import Database
from app.serve import open_database
from tests.demo.service import PATIENCE_S, Service

Json = dict[str, Any]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


class KillsWhenToldOf(io.StringIO):
    """A transcript that kills the service as soon as it is told of a step."""

    def __init__(self, words: str, service: Service) -> None:
        super().__init__()
        self._words, self._service = words, service

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._words in text:
            self._service.kill()
        return written


@dataclass(frozen=True)
class Told:
    """A transcript in JSON: its steps in order, and the values that its commands refer to."""

    steps: list[Json]
    exports: dict[str, str]

    @classmethod
    def of(cls, lines: list[str]) -> Told:
        objects = [json.loads(line) for line in lines]
        exports = {name: value for o in objects for name, value in o.get("export", {}).items()}
        return cls([o for o in objects if "step" in o], exports)

    def step(self, beginning: str) -> Json:
        """The step whose Chinese title begins so."""
        return next(step for step in self.steps if step["title"]["zh"].startswith(beginning))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    own = Service(tmp_path_factory.mktemp("service"))
    own.start()
    yield own
    assert own.stop() == 0


@pytest.fixture(scope="module")
def told(service: Service) -> Told:
    """The story played once more, by the command."""
    played = run("demo", "--url", service.url, "--json")
    assert played.returncode == 0, played.stderr
    return Told.of(played.stdout.splitlines())


def test_the_first_transcript_reads_in_both_languages(service: Service) -> None:
    transcript = (service.data / "story.txt").read_text("utf-8")
    chapters = [line for line in transcript.splitlines() if line.startswith("━━")]
    assert len(chapters) == 6
    assert (
        transcript.count("    谁 who   ")
        == transcript.count("    据 why   ")
        == transcript.count("    curl ")
        > 50
    )
    assert "民政局审核人提出要约" in transcript
    assert "The approver offers" in transcript


def test_an_unconditional_resource_is_agreed_by_policy_and_comes_from_the_table(told: Told) -> None:
    assert told.step("没有人工等待")["answer"]["sharing"] == "unconditional"
    assert told.step("共享协议生效")["answer"]["origin_name.zh"] == "无条件共享"
    rows = list(told.step("批量取数")["answer"].values())[:3]
    agreed = {"credit_code", "enterprise_name", "registered_address", "industry_code", "registration_status"}
    assert all(set(row) == agreed for row in rows)
    assert all("临江区" in row["registered_address"] and row["registration_status"] == "1" for row in rows)


def test_what_was_agreed_is_what_is_delivered(told: Told) -> None:
    change = told.step("住建局看到两版条款的差别")["remark"]["zh"]
    assert "信息项“月保障金额”: 不脱敏 → —" in change
    assert "信息项“公民身份号码”: 不脱敏 → 仅留末 4 位" in change
    answer = told.step("取数（示两行）")["answer"]
    for row in (answer["0"], answer["1"]):
        assert set(row) == {
            "household_code", "id_number", "name", "household_size", "assistance_category", "benefit_status",
        }  # fmt: skip
        assert row["id_number"][:14] == "*" * 14
        assert row["id_number"][14:17].isdigit()
        assert row["benefit_status"] == "1"


def test_what_was_not_agreed_is_refused_on_record_for_both_sides(told: Told) -> None:
    refused = told.step("改要月保障金额")
    assert refused["status"] == 403
    assert refused["answer"]["type"] == "/problems/item-not-agreed"
    receipts = [told.step(f"{side}看到同一张回执")["answer"] for side in ("需求方", "提供方")]
    assert receipts[0] == receipts[1]
    assert receipts[0]["id"] == refused["answer"]["Zhengtong-Receipt"]
    assert (receipts[0]["result"], receipts[0]["rows"]) == ("refused", 0)
    assert "monthly_amount" in receipts[0]["items"]


def test_a_dispute_across_levels_ends_in_an_agreement_by_ruling(told: Told) -> None:
    assert told.step("民政局不予同意")["answer"]["refusal.legal_basis"] == "809-25"
    assert told.step("报请主管部门协调")["answer"]["authority.name.zh"] == "云江市政务服务和数据管理局"
    assert told.step("东湖区主管部门的协调员看不到")["status"] == 404
    assert told.step("协调员拟定裁决")["answer"]["rulings.0.outcome_name.zh"] == "部分支持"
    drafted, signed = told.step("协调员拟定裁决"), told.step("另一名协调员签发裁决")
    assert drafted["who"] != signed["who"]
    pulled = told.step("按裁决取数")
    assert pulled["remark"]["en"] == "754 rows"
    assert not {"monthly_amount", "poverty_cause"} & set(pulled["answer"]["0"])


def test_a_plan_is_flagged_where_the_catalog_holds_the_item_and_nowhere_else(told: Told) -> None:
    flagged = told.step("逐项比对目录")["remark"]["zh"]
    for item in ("公民身份号码", "家庭住址", "救助类别", "月保障金额", "致困原因"):
        (line,) = [line for line in flagged.splitlines() if line.startswith(f"{item} ← ")]
        assert "《最低生活保障对象信息》" in line or "《临江区困难家庭救助台账》" in line
    assert told.step("对照：")["answer"]["findings"] == {"reuse_expected": 0, "review": 0}
    assert told.step("东湖区主管部门认定")["answer"]["state_name.zh"] == "认定重复采集"
    offered = told.step("系统已代拟共享申请")
    assert offered["status"] == 201
    assert [item["code"] for item in offered["answer"]["terms.resources.0.items"]] == ["monthly_amount"]


def test_proofs_were_verified_by_the_reader(told: Told) -> None:
    verified = [step for step in told.steps if "✓ verified offline" in step.get("remark", {}).get("en", "")]
    assert [step["curl"].split('"')[1].rsplit("/", 1)[-1] for step in verified].count("proof") == 2
    assert len(verified) == 4
    refused = told.step("改要月保障金额")["answer"]["Zhengtong-Receipt"]
    assert any(refused in step["curl"] for step in verified)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_second_terminal_repeats_the_printed_commands(told: Told) -> None:
    def in_a_shell(step: Json) -> Any:
        shell = subprocess.run(
            ["sh", "-c", step["curl"]], env={**os.environ, **told.exports}, capture_output=True, check=True
        )
        return json.loads(shell.stdout)

    assert in_a_shell(told.step("打开“最低生活保障对象信息”"))["record"]["title"] == "最低生活保障对象信息"
    rows = told.step("取数（示两行）")
    assert in_a_shell(rows) == [rows["answer"]["0"], rows["answer"]["1"]]
    drafted = told.step("经办人拟定共享申请“公租房")
    again = in_a_shell(drafted)
    assert again["terms_hash"] == drafted["answer"]["terms_hash"]
    assert again["id"] != drafted["answer"]["id"]
    assert in_a_shell(told.step("住建局审核人接受要约"))["status"] in (409, 412), "the record has moved on"


def test_the_commands_carry_no_credential(told: Told) -> None:
    assert all(told.exports)
    for step in told.steps:
        assert not any(value in step["curl"] for name, value in told.exports.items() if "ZT" not in name)


def test_an_unexpected_answer_stops_the_story_with_exit_code_1(service: Service, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"data.security": "not-the-secret"}))
    stopped = run("demo", "--url", service.url, "--secrets", str(secrets))
    assert stopped.returncode == 1
    assert "data.security" in stopped.stderr
    assert "401" in stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_a_service_that_is_not_there_is_told_in_one_sentence() -> None:
    with pytest.raises(StepFailed, match="cannot be reached"):
        play("http://127.0.0.1:9", lambda login: login, story=Story(sys.stdout))


def test_killed_in_the_middle_nothing_acknowledged_is_lost_and_the_ledger_verifies(service: Service) -> None:
    with open_database(service.data) as database_url:
        database = Database(database_url, pool_size=1)
        secrets = one_time_secrets(database, CAST)
        database.close()
    heard = KillsWhenToldOf("改要月保障金额", service)
    with pytest.raises(StepFailed, match="cannot be reached"):
        play(service.url, secrets, story=Story(heard, as_json=True))
    before = Told.of(heard.getvalue().splitlines())
    service.start()

    with httpx2.Client(base_url=service.url, trust_env=False) as client:
        housing = {"Authorization": f"Bearer {before.exports['HOUSING_CLERK']}"}
        agreed = before.step("民政局审核人同意")["answer"]["agreement_id"]
        agreement = client.get(f"/api/v1/agreements/{agreed}", headers=housing).json()
        shown = [step["answer"] for step in before.steps if "content_hash" in step["answer"]]
        assert agreement["content_hash"] == shown[-1]["content_hash"]
        assert agreement["state_name"]["zh"] == "生效"
        for beginning in ("取数（示两行）", "改要月保障金额"):  # the gateway kept what it had not shipped yet
            receipt = before.step(beginning)["answer"]["Zhengtong-Receipt"]
            _until_there(client, f"/api/v1/receipts/{receipt}", housing)
            _until_there(client, f"/api/v1/ledger/entries/{receipt}/proof", housing)
    verified = run("verify-ledger", "--data", str(service.data), "--json")
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["differences"] == []


def _until_there(client: httpx2.Client, path: str, headers: dict[str, str]) -> None:
    for _ in range(300):
        if client.get(path, headers=headers).status_code == 200:
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"{path} never came")
