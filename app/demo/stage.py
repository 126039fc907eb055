"""The stage of the played scenario: who is signed in, how each sends a request, what came back.

Speaks HTTP only, as any agency's system would. Stops the story at the first answer that is not the
expected one.
"""

from __future__ import annotations

import json
import secrets as randomness
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx2
from joserfc import jwt
from joserfc.jwk import OKPKey
from pydantic import JsonValue

from app.demo import sample_city
from app.demo.story import Step, Story
from app.kernel.actor import ROLE_NAMES
from app.kernel.clock import now
from app.kernel.errors import Problem
from app.kernel.text import Text
from exchange.delivery.grants import DATA_PATH

Secrets = Mapping[str, str] | Callable[[str], str]

REQUEST_TIMEOUT_S = 60
PATIENCE_S = 30.0  # for what follows on its own: search index, word to the gateway, receipts, the ledger
POLL_S = 0.5
ASSERTION_LIFETIME_S = 60
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ANYONE = Text("任何人", "anyone")


class StepFailed(Problem):
    """The service answered otherwise than the story expects, or not at all."""

    slug = "demo-step-failed"
    title = Text("演示中断", "The demonstration stopped")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Members are addressed by paths such as `negotiations.0.id`."""

    status: int
    body: JsonValue
    receipt: str | None  # the receipt's id, of a gateway's answer

    def at(self, path: str) -> JsonValue:
        """The member at `path`; None where there is none."""
        found = self.body
        for name in path.split(".") if path else ():
            if isinstance(found, list):
                found = found[int(name)] if int(name) < len(found) else None
            else:
                found = found.get(name) if isinstance(found, dict) else None
        return found

    def text(self, path: str) -> str:
        found = self.at(path)
        assert isinstance(found, str), f"no text at {path}"
        return found

    def number(self, path: str) -> int:
        found = self.at(path)
        assert isinstance(found, int), f"no number at {path}"
        return found

    def members(self, path: str) -> dict[str, JsonValue]:
        found = self.at(path)
        assert isinstance(found, dict), f"no object at {path}"
        return found

    def list(self, path: str = "") -> list[dict[str, JsonValue]]:
        found = self.at(path)
        assert isinstance(found, list), f"no list at {path}"
        return [row for row in found if isinstance(row, dict)]


@dataclass(frozen=True, slots=True)
class Call:
    """A request before somebody sends it. `version` is what was read (If-Match)."""

    method: str
    path: str
    body: JsonValue = None
    query: Mapping[str, str] = field(default_factory=dict)
    version: int | None = None
    at_gateway: bool = False
    form: Mapping[str, str] = field(default_factory=dict)


def get(path: str, **query: str) -> Call:
    return Call("GET", path, query=query)


def post(path: str, body: JsonValue = None, *, version: int | None = None) -> Call:
    return Call("POST", path, body, version=version)


def pull(agreement: str, resource: str, **query: str) -> Call:
    """A data call at the gateway of the grant."""
    return Call("GET", DATA_PATH.format(agreement=agreement, resource=resource), query=query, at_gateway=True)


@dataclass(frozen=True, slots=True)
class Player:
    """Somebody with a credential, empty before the first; the printed commands find it in `$variable`."""

    name: Text
    variable: str
    token: str


class Stage:
    """The scenario's people and systems, and the story that is told of what they do."""

    def __init__(self, client: httpx2.Client, secrets: Secrets, story: Story) -> None:
        self._client = client
        self._secret_of = secrets if callable(secrets) else secrets.__getitem__
        self._story = story
        self._players: dict[str, Player] = {}
        self._gateway = ""
        self._cast = {person.login: person for person in sample_city.people()}
        self._agencies = {agency.credit_code: agency for agency in sample_city.agencies()}
        self.run = randomness.token_hex(3)  # names of this run's systems

    def chapter(self, zh: str, en: str) -> None:
        self._story.chapter(Text(zh, en))

    def sign_in(self, *logins: str) -> None:
        """Sign people in with their one-time secrets and tell the tokens they act with."""
        for login in logins:
            try:
                secret = self._secret_of(login)
            except KeyError:
                detail = Text("没有 {login} 的一次性口令", "There is no one-time secret of {login}")
                raise StepFailed(detail.with_(login=login)) from None
            answer = self._sent(post("/api/v1/sessions", {"login": login, "secret": secret}), None)
            _require(answer, 201, Text("登录 {login}", "sign-in of {login}").with_(login=login))
            person = self._cast[login]
            agency, roles = (
                self._agencies[person.agency].name,
                [ROLE_NAMES[role] for role in sorted(person.roles)],
            )
            name = Text(
                f"{agency.zh} {'、'.join(role.zh for role in roles)} {person.name}",
                f"{', '.join(role.en for role in roles)} of the {agency.en} ({login})",
            )
            self._add(login, name, answer.text("token"))

    def agency_of(self, login: str) -> str:
        """The id of the agency somebody acts for."""
        return self._sent(get("/api/v1/me"), self._players[login]).text("agency_id")

    def step(
        self,
        title: Text,
        call: Call,
        *,
        by: str | None,
        why: Text,
        expect: int = 200,
        show: tuple[str, ...] = (),
        remark: Text | Callable[[Answer], Text | None] | None = None,
        until: Callable[[Answer], bool] | None = None,
    ) -> Answer:
        """Let `by` send the request, tell it, and return the answer.

        `show` names the members to tell. With `until` the request is repeated, for what the service does
        shortly after, and the last answer told. Errors: StepFailed.
        """
        player = self._players[by] if by else None
        answer = self._patiently(call, player, until) if until else self._sent(call, player)
        _require(answer, expect, title)
        shown = {path or "body": answer.at(path) for path in show}
        if answer.receipt:
            shown["Zhengtong-Receipt"] = answer.receipt
        told = Step(
            title, player.name if player else ANYONE, why, self._curl(call, player), answer.status, shown,
            remark(answer) if callable(remark) else remark,
        )  # fmt: skip
        self._story.tell(told)
        return answer

    def register_system(self, key: str, *, owner: str, title: Text) -> None:
        """Register a system of `owner`'s agency with a fresh key, get its access token, and let it play as
        `key`. The private key stays in this process."""
        private = OKPKey.generate_key("Ed25519")
        private = OKPKey.import_key({**private.as_dict(private=True), "kid": private.thumbprint()})
        name = f"{key}-{self.run}"
        registration: JsonValue = {
            "name": name, "title": title.zh, "agency_id": self.agency_of(owner),
            "scopes": ["pull"], "jwk": {name: str(value) for name, value in private.as_dict(private=False).items()},
        }  # fmt: skip
        self.step(
            Text("登记应用系统“{zh}”及其公钥", "Register the system “{en}” with its public key").with_(
                zh=title.zh, en=title.en
            ),
            post("/api/v1/clients", registration),
            by="data.security", expect=201, show=("name", "scopes"),
            why=Text("GB/T 22239：系统由安全管理员登记，私钥不离开系统",
                     "GB/T 22239: the security administrator registers systems; private keys stay with them"),
        )  # fmt: skip
        self._obtain_token(key, name, title, private)

    def _obtain_token(self, key: str, name: str, title: Text, private: OKPKey) -> None:
        metadata = self._sent(get("/.well-known/oauth-authorization-server"), None)
        issued_at = int(now().timestamp())
        claims = {
            "iss": name, "sub": name, "aud": metadata.text("issuer"), "iat": issued_at,
            "exp": issued_at + ASSERTION_LIFETIME_S, "jti": randomness.token_urlsafe(16),
        }  # fmt: skip
        assertion = jwt.encode({"alg": "EdDSA", "kid": private.kid}, claims, private, algorithms=["EdDSA"])
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        name_of_system = Text(f"应用系统“{title.zh}”（{name}）", f"the system {title.en} ({name})")
        self._players[key] = Player(name_of_system, _variable(key), "")
        answer = self.step(
            Text("系统用私钥签名换取访问令牌（5 分钟有效）", "The system signs for an access token of five minutes"),
            Call("POST", "/oauth/token", form=form),
            by=key, show=("token_type", "expires_in", "scope"),
            why=Text("RFC 7523 private_key_jwt：断言只能使用一次", "RFC 7523 private_key_jwt: an assertion is used once"),
        )  # fmt: skip
        self._add(key, name_of_system, answer.text("access_token"))

    def hold_grant(self, key: str, grant: Answer) -> str:
        """Let the system `key` bear a grant at its gateway; the key of that bearer."""
        gateway = grant.text("gateway").rstrip("/")
        if gateway != self._gateway:
            self._gateway = gateway
            self._story.export("ZT_GATEWAY", gateway)
        self._add(f"{key}-grant", self._players[key].name, grant.text("token"))
        return f"{key}-grant"

    def _add(self, key: str, name: Text, token: str) -> None:
        self._players[key] = Player(name, _variable(key), token)
        self._story.export(_variable(key), token)

    def _patiently(self, call: Call, player: Player | None, until: Callable[[Answer], bool]) -> Answer:
        give_up_at = time.monotonic() + PATIENCE_S
        while not until(answer := self._sent(call, player)):
            if time.monotonic() > give_up_at:
                detail = Text("{s} 秒内没有等到：{path}", "Waited {s} s in vain: {path}")
                raise StepFailed(
                    detail.with_(s=int(PATIENCE_S), path=f"{call.method} {call.path} → {answer.status}")
                )
            time.sleep(POLL_S)
        return answer

    def _sent(self, call: Call, player: Player | None) -> Answer:
        headers = {"Accept-Language": "zh-CN"}
        if player is not None and player.token:
            headers["Authorization"] = f"Bearer {player.token}"
        if call.version is not None:
            headers["If-Match"] = f'"{call.version}"'
        url = (self._gateway if call.at_gateway else "") + call.path
        try:
            answer = self._client.request(
                call.method, url, params=dict(call.query) or None, json=call.body,
                data=dict(call.form) or None, headers=headers,
            )  # fmt: skip
        except httpx2.HTTPError as error:
            detail = Text("无法连接服务（{what}）：{url}", "The service cannot be reached ({what}): {url}")
            raise StepFailed(detail.with_(what=type(error).__name__, url=url)) from error
        is_json = "json" in answer.headers.get("content-type", "")
        body: JsonValue = answer.json() if is_json else answer.text
        return Answer(answer.status_code, body, answer.headers.get("zhengtong-receipt"))

    def _curl(self, call: Call, player: Player | None) -> str:
        """The request as a command for a second terminal; credentials stand in variables."""
        base = "$ZT_GATEWAY" if call.at_gateway else "$ZT"
        words = ["curl -sS"]
        if call.query:
            words.append("-G")
        elif call.method != "GET":
            words.append(f"-X {call.method}")
        words.append(f'"{base}{call.path}"')
        if player is not None and player.token:
            words.append(f'-H "Authorization: Bearer ${player.variable}"')
        if call.version is not None:
            words.append(f"-H 'If-Match: \"{call.version}\"'")
        words += [f"--data-urlencode {shlex.quote(f'{k}={v}')}" for k, v in (call.query or call.form).items()]
        if call.body is not None:
            words.append("-H 'Content-Type: application/json'")
            words.append(
                f"-d {shlex.quote(json.dumps(call.body, ensure_ascii=False, separators=(',', ':')))}"
            )
        return " ".join(words)


def _require(answer: Answer, status: int, title: Text) -> None:
    if answer.status == status:
        return
    told = answer.at("detail") or answer.body
    faults = (
        "；".join(f"{fault.get('field')}: {fault.get('message')}" for fault in answer.list("errors"))
        if answer.at("errors")
        else ""
    )
    raise StepFailed(
        Text(
            "“{title}”应得 {expected}，实得 {got}：{told} {faults}",
            "“{title}” should have been answered {expected}, was answered {got}: {told} {faults}",
        ).with_(title=title, expected=status, got=answer.status, told=told, faults=faults)
    )


def _variable(key: str) -> str:
    return key.upper().replace(".", "_").replace("-", "_")
