"""Generated resources in the shape of a government catalog: the same for the same seed, nobody's data.

Owns the vocabulary. Words are drawn by a power law: in the Taoyuan supply list the ten commonest item names
make 6 % of all, the hundred commonest 20 %, and most names stand once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from random import Random
from uuid import UUID

from catalog.resources.codes import DataType, FormatClass, Grade, Openness, SharingType, Theme, UpdateCycle
from catalog.resources.record import ResourceRecord
from catalog.search.document import SearchDocument

SEED = 20_260_901
ITEMS = 20  # of each resource

_BUREAUS = (
    "公安局", "民政局", "人力资源和社会保障局", "市场监督管理局", "自然资源和规划局", "卫生健康委员会", "教育局",
    "住房和城乡建设局", "交通运输局", "税务局", "医疗保障局", "生态环境局", "农业农村局", "应急管理局", "司法局",
    "财政局", "统计局", "文化和旅游局", "水务局", "退役军人事务局", "城市管理局", "气象局", "消防救援支队", "残疾人联合会",
)  # fmt: skip
_PLACES = tuple(
    f"{first}{second}{kind}"
    for kind in ("区", "县", "市")
    for first in ("临", "东", "云", "清", "安", "长", "永", "平")
    for second in ("江", "湖", "山", "溪", "阳", "宁", "泉")
)
SUBJECTS = (
    "企业", "婚姻", "社会保险", "不动产", "机动车", "学籍", "医保", "低保", "户籍", "公积金", "药品", "食品", "建筑工程",
    "教师资格", "医师执业", "残疾人", "养老机构", "出生医学证明", "殡葬", "社会组织", "律师", "公证", "道路运输", "船舶",
    "排污", "取水", "林木采伐", "农机", "种子", "兽药", "动物检疫", "危险化学品", "特种设备", "计量器具", "商标", "专利",
    "广告", "网吧", "演出", "文物", "旅行社", "导游", "出租车", "停车场", "充电桩", "公交线路", "桥梁", "供水", "燃气",
    "垃圾分类", "物业服务", "房屋租赁", "保障性住房", "土地出让", "采矿权", "地质灾害", "气象预警", "河道", "水库", "防汛",
    "救助站", "儿童福利", "退役军人", "优抚对象", "就业困难人员", "失业", "工伤", "生育", "职业技能", "高层次人才",
)  # fmt: skip
_ASPECTS = (
    "登记信息", "许可信息", "基本信息", "行政处罚", "名录", "备案信息", "检查记录", "统计数据", "年度报告", "证照信息",
    "缴费记录", "变更记录", "注销信息", "信用评价", "申请信息", "审批结果", "监测数据", "补贴发放", "投诉举报", "抽检结果",
)  # fmt: skip
_HOLDERS = (
    "", "申请人", "法定代表人", "负责人", "经办人", "监护人", "配偶", "所有权人", "承租人", "被处罚人", "持证人", "联系人",
    "企业", "单位", "机构", "户主", "委托人", "代理人", "投保人", "受益人", "出让方", "受让方", "施工单位", "监理单位",
)  # fmt: skip
_FIELDS = (
    "姓名", "身份证号", "联系电话", "地址", "统一社会信用代码", "名称", "登记日期", "有效期", "证件类型", "性别", "出生日期",
    "行政区划代码", "状态", "备注", "编号", "金额", "面积", "发证机关", "发证日期", "类别", "户籍地址", "银行账号", "开户行",
    "审批结果", "处罚决定书文号", "处罚依据", "注册资本", "经营范围", "行业代码", "成立日期", "数量", "单价", "经度", "纬度",
    "起始时间", "终止时间", "等级", "分数", "意见", "事由", "民族", "学历", "职务", "邮政编码", "电子邮箱", "车牌号", "用途",
)  # fmt: skip
_QUALIFIERS = tuple(
    f"{when}{what}"
    for when in ("", "原", "现", "首次", "本期", "上年", "累计", "预计", "实际", "最近")
    for what in ("", "主要", "其他", "临时", "年度", "月度", "计划", "核定", "申报", "备案")
)
_FLATNESS = 0.75  # exponent of the power law of item names
_ABSTRACT = "{place}{bureau}在履行职责过程中采集的{subject}{aspect}，包括{first}、{second}等，用于{use}。"
_USES = ("行政审批", "社会救助核对", "信用监管", "统计分析", "公共服务", "联合执法", "决策支持", "便民查询")


class _Drawn:
    """Draws from words, the first ones far more often."""

    def __init__(self, words: Sequence[str], exponent: float = 1.0) -> None:
        self.words = words
        self._weights = list(accumulate(rank**-exponent for rank in range(1, len(words) + 1)))

    def draw(self, random: Random, count: int = 1) -> list[str]:
        return random.choices(self.words, cum_weights=self._weights, k=count)


def documents(count: int, seed: int = SEED) -> Iterator[SearchDocument]:
    """`count` published resources with ITEMS items each, as the search index takes them."""
    random = Random(seed)
    subjects, aspects = _Drawn(SUBJECTS), _Drawn(_ASPECTS)
    items = _Drawn(_item_names(random), _FLATNESS)
    lists = [list(kind) for kind in (SharingType, Openness, Theme, UpdateCycle, FormatClass, Grade)]
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for number in range(count):
        place, bureau = random.choice(_PLACES), random.choice(_BUREAUS)
        subject, aspect = subjects.draw(random)[0], aspects.draw(random)[0]
        names = list(dict.fromkeys(items.draw(random, ITEMS + 8)))[:ITEMS]
        sharing, openness, theme, cycle, form, grade = map(random.choice, lists)
        yield SearchDocument(
            id=str(UUID(int=(number << 80) + random.getrandbits(80))),
            code=f"307001/{number:06d}",
            title=f"{place}{subject}{aspect}" + (f"（{random.randrange(2008, 2027)}年）" if number % 2 else ""),
            title_en=f"Register {number} of {place}" if number % 4 == 0 else "",
            abstract=_ABSTRACT.format(
                place=place, bureau=bureau, subject=subject, aspect=aspect, first=names[0], second=names[1],
                use=random.choice(_USES),
            ),
            items=tuple(names),
            agency_id=f"{place}{bureau}",
            agency_name=f"{place}{bureau}",
            jurisdiction=place,
            published=True,
            open=random.random() < 0.2,
            updated_at=start + timedelta(seconds=number),
            sharing_type=sharing,
            openness=openness,
            themes=(theme,),
            update_cycle=cycle,
            format=form,
            grade=grade,
            state="published",
        )  # fmt: skip


def records(count: int, seed: int = SEED, *, part: int = 0, parts: int = 1) -> Iterator[ResourceRecord]:
    """The same resources as `documents` gives, as their providers would write them and as an import reads them:
    validated. Of `parts` processes each takes one resource in `parts`."""
    types = [str(kind) for kind in DataType]
    for document in islice(documents(count, seed), part, None, parts):
        closed = document.sharing_type == SharingType.NOT_SHARED
        yield ResourceRecord.model_validate(
            {
                "source_id": document.code, "title": document.title, "title_en": document.title_en or None,
                "abstract": document.abstract, "themes": document.themes,
                "classification": {"resource_class": "3", "item": "07", "section": "001"},
                "format": {"format_class": document.format}, "update_cycle": document.update_cycle,
                "sharing": {"type": document.sharing_type, "reason": "依法不予共享" if closed else None},
                "openness": {"type": Openness.NOT_OPEN if closed else document.openness},
                "grade": document.grade,
                "items": [
                    {"name": name, "data_type": types[len(name) % len(types)], "length": 50}
                    for name in document.items
                ],
            }
        )  # fmt: skip


def _item_names(random: Random) -> list[str]:
    """The plain names first, as they are the common ones."""
    names: list[str] = []
    for qualifier in _QUALIFIERS:
        block = [holder + qualifier + name for holder in _HOLDERS for name in _FIELDS]
        random.shuffle(block)
        names += block
    return names


def sample(count: int, size: int = 500) -> list[SearchDocument]:
    """Resources of `documents(count)`, evenly apart."""
    return list(islice(documents(count), 0, None, max(1, count // size)))


def queries(known: Sequence[SearchDocument], each: int, seed: int = SEED) -> dict[str, list[str]]:
    """`each` searches of every kind, all of which find something in `known`: pieces of titles and item names."""
    random = Random(seed + 1)
    picked = [random.choice(known) for _ in range(each)]
    return {
        "rare": [document.title for document in picked],
        "common": [random.choice((*_ASPECTS[:4], *_FIELDS[:4])) for _ in picked],
        "two characters": [_piece(random, random.choice(document.items), 2) for document in picked],
        "two words": [
            f"{document.title[3:5]} {_piece(random, random.choice(document.items), 4)}" for document in picked
        ],
    }


def prefixes(known: Sequence[SearchDocument], each: int, seed: int = SEED) -> list[str]:
    """What people type before a suggestion comes: the first two to four characters of names."""
    random = Random(seed + 2)
    names = [random.choice((document.title, *document.items)) for document in random.choices(known, k=each)]
    return [name[: random.randint(2, 4)] for name in names]


def _piece(random: Random, text: str, length: int) -> str:
    start = random.randrange(max(1, len(text) - length + 1))
    return text[start : start + length]
