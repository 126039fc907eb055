"""A small registered world for tests, made through the real operations."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from app.identity import agencies, sessions
from app.identity.models import Agency, Jurisdiction, Person
from app.kernel.actor import Actor, Role, system_actor

OPERATOR = system_actor("operator")
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def credit_code(number: int, division: str = "990100") -> str:
    """A valid unified social credit code (GB 32100) numbered `number`."""
    body = f"{number:08d}"
    weights = (3, 7, 9, 10, 5, 8, 4, 2)
    inner = (11 - sum(int(c) * w for c, w in zip(body, weights, strict=True)) % 11) % 11
    code = f"11{division}{body}{'X' if inner == 10 else inner}"
    total = sum(_ALPHABET.index(c) * pow(3, n, 31) for n, c in enumerate(code))
    return code + _ALPHABET[(31 - total % 31) % 31]


@dataclass
class Town:
    """A nation, a province, a city and two districts; each with an authority; bureaus that share.

    Agencies by key: nation, province_authority, city_authority, east_authority, west_authority;
    civil (city, provider), health (city, requester), market (city, another provider),
    east_health (district), west_civil (district).
    """

    session: Session
    places: dict[str, Jurisdiction] = field(default_factory=dict)
    agencies: dict[str, Agency] = field(default_factory=dict)
    _people: dict[tuple[str, frozenset[Role], int], Person] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places["nation"] = agencies.root_jurisdiction(self.session)
        tree = [
            ("province", "990000", "测试省", self.places["nation"].code),
            ("city", "990100", "测试市", "990000"),
            ("east", "990102", "东区", "990100"),
            ("west", "990103", "西区", "990100"),
        ]
        for key, code, name, parent in tree:
            self.places[key] = agencies.register_jurisdiction(
                self.session, code=code, name=name, name_en=key.title(), parent_code=parent, by=OPERATOR
            )
        for number, (key, place, name) in enumerate(
            [
                ("province_authority", "province", "测试省数据局"),
                ("city_authority", "city", "测试市数据局"),
                ("east_authority", "east", "东区数据局"),
                ("west_authority", "west", "西区数据局"),
                ("civil", "city", "测试市民政局"),
                ("health", "city", "测试市卫生健康委员会"),
                ("market", "city", "测试市市场监督管理局"),
                ("east_health", "east", "东区卫生健康局"),
                ("west_civil", "west", "西区民政局"),
            ],
            start=1,
        ):
            self.agencies[key] = agencies.register_agency(
                self.session, name=name, name_en=key.replace("_", " ").title(),
                jurisdiction_id=self.places[place].id, credit_code=credit_code(number),
                responsible_leader="分管负责人", internal_office="信息中心",
                authority=key.endswith("_authority"), by=OPERATOR,
            )  # fmt: skip

    def person(self, agency: str, *roles: Role, number: int = 1) -> Person:
        """The agency's person with exactly these roles; `number` tells several alike apart."""
        key = (agency, frozenset(roles), number)
        if key not in self._people:
            self._people[key] = sessions.register_person(
                self.session, login=f"{agency}-{uuid4().hex[:8]}", name=f"{agency} {number}",
                agency_id=self.agencies[agency].id, roles=frozenset(roles), by=OPERATOR,
            )  # fmt: skip
        return self._people[key]

    def actor(self, agency: str, *roles: Role, number: int = 1) -> Actor:
        """The actor that person is."""
        return sessions.actor_of(self.session, self.person(agency, *roles, number=number))

    def headers(self, agency: str, *roles: Role, number: int = 1) -> dict[str, str]:
        """HTTP headers of that person, signed in."""
        opened = sessions.open_session(self.session, self.person(agency, *roles, number=number))
        self.session.flush()
        return {"Authorization": f"Bearer {opened.token}"}

    def id(self, agency: str) -> UUID:
        return self.agencies[agency].id
