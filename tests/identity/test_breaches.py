"""Passwords that are known from breaches are refused: by the list that ships, and by the operator's."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.identity.breaches import is_breached
from app.kernel.actor import Role
from tests.factories import Town


def hashed(password: str) -> str:
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 1000])
def test_every_line_of_the_operators_file_is_found(tmp_path: Path, size: int, end: str) -> None:
    file = tmp_path / "breached.txt"
    known = [f"口令-{number}" for number in range(size)]
    lines = sorted(f"{hashed(password)}:{number}" for number, password in enumerate(known))
    file.write_bytes("".join(line + end for line in lines).encode())
    assert all(is_breached(password, file) for password in known)
    assert not any(is_breached(f"另一-{number}", file) for number in range(100))


def test_the_list_that_ships() -> None:
    assert is_breached("trustno1", None) and is_breached("TrustNo1", None)
    assert not is_breached("Yun-Jiang-2026", None)


def test_a_breached_password_is_not_set(client: TestClient, town: Town, tmp_path: Path) -> None:
    headers = town.headers("civil", Role.CLERK)
    file = tmp_path / "breached.txt"
    file.write_text(hashed("Lu-Deng-2027") + ":3\n")
    app = client.app
    assert isinstance(app, FastAPI)
    app.state.settings = replace(app.state.settings, breached_passwords=file)
    answer = client.put("/api/v1/me/password", json={"password": "Lu-Deng-2027"}, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "/password")
    good = client.put("/api/v1/me/password", json={"password": "Lu-Deng-2028"}, headers=headers)
    assert good.status_code == 204
