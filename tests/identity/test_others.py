"""What others wrote works with us: oauth4webapi as a machine client, oidc-provider as identity provider."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.identity import clients
from app.kernel.actor import Scope
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.kernel.outbound import networks
from app.main import create_app
from app.settings import Settings
from tests.delivery.world import free_port
from tests.factories import OPERATOR, Town
from tests.serving import serving

NPM = Path(__file__).parent.parent / "npm"
NODE = shutil.which("node")
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(
        NODE is None or not (NPM / "node_modules").is_dir(),
        reason="node, or the packages of tests/npm (`npm ci --prefix tests/npm`), are not installed",
    ),
]


def test_a_machine_client_by_oauth4webapi(database: Database, keys: ServiceKeys, tmp_path: Path) -> None:
    signers: dict[str, Any] = {
        "ES256": ECKey.generate_key("P-256", auto_kid=True),
        "PS256": RSAKey.generate_key(2048, auto_kid=True),
        "EdDSA": OKPKey.generate_key("Ed25519", auto_kid=True),
    }
    with database.transaction() as session:
        town = Town(session)
        for name, key in signers.items():
            client = clients.register_client(
                session, name=f"others-{name}", title=name, agency_id=town.id("health"),
                scopes=frozenset({Scope.CATALOG}), by=OPERATOR,
            )  # fmt: skip
            clients.add_client_key(session, client, key.as_dict(private=False), by=OPERATOR)

    def settings(url: str) -> Settings:
        return Settings(data=tmp_path, database_url="", public_url=url)

    with serving(lambda url: create_app(settings(url), database, keys)) as url:
        for name, key in signers.items():
            for kind in ("bearer", "bound"):
                command = [str(NODE), str(NPM / "machine.mjs"), url, f"others-{name}", name, kind]
                jwk = {**key.as_dict(private=True), "ext": True}
                done = subprocess.run(
                    command, input=json.dumps(jwk), capture_output=True, text=True, timeout=60, check=False
                )
                assert done.returncode == 0, done.stderr
                said = json.loads(done.stdout)
                assert said["type"] == ("dpop" if kind == "bound" else "bearer")
                assert (said["me"]["name"], said["scope"]) == (f"others-{name}", "catalog")


@contextmanager
def provider(port: int, callback: str, algorithm: str, secret: str, agency: str) -> Iterator[None]:
    command = [str(NODE), str(NPM / "provider.mjs"), str(port), callback, algorithm, secret, agency]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"
            yield
        finally:
            process.kill()


def form_of(page: httpx2.Response, **entered: str) -> tuple[str, dict[str, str]]:
    """The first form of a page: where it goes and what it sends."""
    action = re.search(r'action="([^"]+)"', page.text)
    assert action, page.text
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    return str(page.url.join(action[1])), hidden | entered


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA"])
def test_sign_in_at_oidc_provider(
    database: Database, keys: ServiceKeys, tmp_path: Path, algorithm: str
) -> None:
    with database.transaction() as session:
        agency = str(Town(session).agencies["civil"].credit_code)
    port, secret = free_port(), "s3cret-of-the-client-at-the-provider"
    (tmp_path / "secret").write_text(secret)
    described = {
        "issuer": f"http://127.0.0.1:{port}", "client_id": "zhengtong", "secret_file": str(tmp_path / "secret"),
        "roles": {"office-clerks": "clerk"},
    }  # fmt: skip
    (tmp_path / "provider.json").write_text(json.dumps(described))

    def settings(url: str) -> Settings:
        return Settings(
            data=tmp_path, database_url="", public_url=url, identity_provider=tmp_path / "provider.json",
            private_networks=networks("127.0.0.0/8"),
        )  # fmt: skip

    with (
        serving(lambda url: create_app(settings(url), database, keys)) as url,
        provider(port, f"{url}/sign-in/provider/callback", algorithm, secret, agency),
        httpx2.Client(follow_redirects=True, timeout=30, trust_env=False) as browser,
    ):
        page = browser.get(f"{url}/sign-in/provider?next=/api/v1/me")
        address, fields = form_of(page, login="li.min", password="anything")
        page = browser.post(address, data=fields)
        address, fields = form_of(page)
        me = browser.post(address, data=fields)
        assert me.json()["name"] == "李敏", me.text
        assert me.json()["roles"] == ["clerk"]
