"""Generated records of the sample city's two providers: the same for the same seed, and about nobody.

Numbers carry right check characters so that checks pass, and prefixes no authority gives out: divisions
98xxxx (GB/T 2260 assigns 11 to 82) and telephones 100xxxxxxxx (mobile numbers start 13 to 19).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from app.identity.codes import credit_check, identity_check, organisation_check

Row = dict[str, str | int | float | None]

DISTRICTS = {"980102": "临江区", "980103": "云台区", "980104": "东湖区"}
_STREETS = {
    "980102": ("望江街道", "石埠街道", "渡口街道", "柳洲镇"),
    "980103": ("云门街道", "竹坞街道", "松岗镇", "泉溪镇"),
    "980104": ("湖心街道", "菱塘街道", "荷风街道", "东堤街道"),
}
_ROADS = ("听涛路", "渔歌巷", "白榆路", "晴川街", "枫桥里", "云锦路", "栖霞巷", "长堤路")
_SURNAMES = "云江闻陆沈苏温钟祁柏晏岑纪茅庞颜凌霍封简"
_GIVEN = (
    "知遥", "砚清", "竹音", "见微", "望川", "听雨", "怀素", "予宁", "照夜", "清和",
    "拾光", "映雪", "鹤年", "观澜", "疏桐", "若虚", "长歌", "南乔", "枕溪", "问竹",
)  # fmt: skip
_TRADES = {
    "F5211": ("商贸", "百货零售；日用品销售；互联网销售"),
    "C1411": ("食品", "糕点、面包制造；预包装食品销售"),
    "E4710": ("建筑工程", "房屋建筑工程施工；建筑劳务分包"),
    "I6513": ("软件科技", "软件开发；信息系统集成服务；数据处理服务"),
    "G5430": ("物流", "普通货物道路运输；仓储服务"),
    "H6210": ("餐饮管理", "餐饮服务；餐饮企业管理咨询"),
    "A0141": ("农业发展", "蔬菜种植；农产品初加工与销售"),
    "N7721": ("环保", "环境保护专用设备安装；水污染治理"),
}
_FAR = date(2026, 6, 30)  # the last day on which anything in the generated records happens


def subsistence_rows(*, households: int = 1_200, seed: int = 20_260_801) -> list[Row]:
    """Persons on the subsistence allowance, one row each, by household: every item of the catalog's
    resource 最低生活保障对象信息, and six fields more that the provider's system holds and the catalog does not.

    Dates are ISO 8601, amounts yuan per month and household.
    """
    random = Random(seed)  # noqa: S311 - sample data, the same for the same seed
    rows: list[Row] = []
    for number in range(1, households + 1):
        rows += _household(random, number, identity_from=len(rows))
    return rows


def _household(random: Random, number: int, *, identity_from: int) -> Iterator[Row]:
    division = random.choice(tuple(DISTRICTS))
    size = random.choices((1, 2, 3, 4, 5), (30, 34, 20, 11, 5))[0]
    surname = random.choice(_SURNAMES)
    per_head = random.choice((780, 820, 860, 910))
    shared: Row = {
        "household_code": f"DB{division}{number:06}",
        "household_size": size,
        "division_code": division,
        "home_address": _address(random, division),
        "assistance_category": random.choices("123", (58, 27, 15))[0],
        "poverty_cause": random.choice(("01", "02", "03", "04", "09")),
        "monthly_amount": float(per_head * size - random.randrange(0, 300, 10)),
        "start_date": _day(random, date(2017, 1, 1), _FAR).isoformat(),
        "benefit_status": random.choices("123", (86, 5, 9))[0],
    }
    account = f"0000{random.randrange(10**15):015}"
    phone = _telephone(random)
    for member in range(size):
        born = _birth_date(random, member)
        yield {
            **shared,
            "id_number": identity_number(division, born, identity_from + member),
            "name": surname + random.choice(_GIVEN),
            "household_relation": "01" if member == 0 else "10" if member == 1 else "20",
            "birth_date": born.isoformat(),
            "contact_phone": phone,
            "bank_name": "云江农村商业银行",
            "bank_account": account,
            "caseworker": random.choice(_SURNAMES) + random.choice(_GIVEN),
            "internal_remark": random.choice(("", "待复核", "已入户", "申诉处理中")),
        }


def enterprise_rows(*, count: int = 20_000, seed: int = 20_260_802) -> Iterator[Row]:
    """Enterprises: every item of the catalog's resource 企业登记信息, and two fields that only the
    provider's own table holds. Dates are ISO 8601, capital in ten thousand yuan."""
    random = Random(seed)  # noqa: S311 - sample data, the same for the same seed
    for number in range(1, count + 1):
        division = random.choice(tuple(DISTRICTS))
        industry, (trade, scope) = random.choice(tuple(_TRADES.items()))
        word = random.choice(_GIVEN) + random.choice(("", "云", "和", "泰", "源", "启"))
        shape, suffix = random.choices(
            (("1130", "有限公司"), ("1151", "有限责任公司"), ("1219", "股份有限公司"), ("4531", "合伙企业")),
            (62, 24, 6, 8),
        )[0]
        yield {
            "credit_code": credit_code("91", division, f"MX{number:06}"),
            "enterprise_name": f"云江市{word}{trade}{suffix}",
            "enterprise_type": shape,
            "legal_representative": random.choice(_SURNAMES) + random.choice(_GIVEN),
            "registered_capital": float(random.choice((10, 30, 50, 100, 200, 500, 1000, 5000))),
            "established_on": _day(random, date(1998, 1, 1), _FAR).isoformat(),
            "business_scope": scope,
            "registered_address": _address(random, division),
            "division_code": division,
            "industry_code": industry[1:],
            "registration_status": random.choices("1234", (78, 6, 14, 2))[0],
            "registration_authority": f"云江市{DISTRICTS[division]}市场监督管理局",
            "contact_phone": _telephone(random),
            "inspector_note": random.choice((None, None, None, "年度抽查", "地址待核实")),
        }


def identity_number(division: str, born: date, number: int) -> str:
    """A well-formed identity number (GB 11643) of a division nobody was ever registered in."""
    body = f"{division}{born:%Y%m%d}{number % 1000:03}"
    return body + identity_check(body)


def credit_code(kind: str, division: str, body: str) -> str:
    """A well-formed credit code (GB 32100): two leading characters, division, eight characters of GB 11714."""
    front = kind + division + body + organisation_check(body)
    return front + credit_check(front)


def _birth_date(random: Random, member: int) -> date:
    if member < 2:
        return _day(random, date(1946, 1, 1), date(1992, 12, 31))
    return _day(random, date(2005, 1, 1), date(2023, 12, 31))


def _day(random: Random, first: date, last: date) -> date:
    return first + timedelta(days=random.randrange((last - first).days + 1))


def _address(random: Random, division: str) -> str:
    street = random.choice(_STREETS[division])
    return f"云江市{DISTRICTS[division]}{street}{random.choice(_ROADS)}{random.randrange(1, 300)}号"


def _telephone(random: Random) -> str:
    return f"100{random.randrange(10**8):08}"
