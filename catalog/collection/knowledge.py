"""What is known about names before any catalog is read: aliases, contrasts, generic names, weights.

Data only, with one model version: a finding stores MODEL.version, so that its score can be explained later.
Decisions of people are added to a `Knowledge` value, never to these tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Literal

Band = Literal["reuse_expected", "review", "new"]


def _listed(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Each row: one data element (数据元) under the names agencies give it. The first is the usual one.
ALIASES: tuple[tuple[str, ...], ...] = (
    (
        "公民身份号码",
        "身份证号",
        "身份证号码",
        "居民身份证号",
        "身份号码",
        "身份证字号",
        "身份证件号码",
        "社会保障号码",
        "id card number",
    ),
    (
        "统一社会信用代码",
        "社会信用代码",
        "信用代码",
        "统一信用代码",
        "unified social credit code",
    ),
    (
        "联系电话",
        "联络电话",
        "连络电话",
        "电话",
        "电话号码",
        "联系方式",
        "手机号码",
        "手机",
        "移动电话",
        "手机号",
        "tel",
        "phone",
    ),
    ("出生日期", "出生年月日", "出生年月", "生日", "date of birth", "birth date"),
    ("性别", "性别代码", "gender", "sex"),
    ("姓名", "名字", "公民姓名", "full name"),
    ("民族", "民族代码", "族别"),
    ("户籍地址", "户口所在地", "户籍所在地", "户口地址", "户籍登记地址"),
    ("居住地址", "现住址", "现居住地址", "住址", "常住地址", "家庭住址", "实际居住地"),
    ("文化程度", "学历", "受教育程度", "教育程度", "最高学历"),
    ("婚姻状况", "婚姻状态", "婚否"),
    ("政治面貌", "政治身份"),
    (
        "企业名称",
        "公司名称",
        "单位名称",
        "机构名称",
        "商号名称",
        "市场主体名称",
        "company name",
    ),
    (
        "法定代表人",
        "法人代表",
        "法定代表人姓名",
        "法人姓名",
        "法人代表姓名",
        "企业法人",
    ),
    ("注册地址", "住所", "企业住所", "登记住所", "注册地", "企业注册地址"),
    ("经营地址", "经营场所", "营业地址", "生产经营地址", "经营所在地"),
    ("注册资本", "注册资金", "注册资本金"),
    ("成立日期", "设立日期", "成立时间"),
    ("经营范围", "营业范围", "营业项目", "业务范围"),
    ("从业人数", "从业人员数", "职工人数", "员工人数", "用工人数"),
    ("行政区划代码", "行政区代码", "区划代码", "行政区划编码"),
    ("行政区划", "行政区", "所属区县", "所在区", "区域别", "所属行政区"),
    ("不动产单元号", "不动产单元代码", "不动产单元编号"),
    ("地号", "宗地号", "地籍号", "宗地编号", "parcel number"),
    ("宗地面积", "土地面积", "用地面积"),
    ("建筑面积", "房屋面积", "房屋建筑面积"),
    ("邮政编码", "邮编", "邮递区号", "postal code", "zip code"),
    ("电子邮箱", "邮箱", "电子邮件", "电邮地址", "email"),
    ("经度", "东经", "longitude", "lng"),
    ("纬度", "北纬", "latitude", "lat"),
    ("车牌号", "号牌号码", "车辆号牌", "机动车号牌", "车号"),
    ("银行账号", "银行账户", "开户账号", "账户号码"),
    ("行业分类", "行业类别", "所属行业", "行业代码"),
    ("有效期止", "有效期截止日期", "有效截止日期", "证件有效期止"),
)

# Words of which a name can mean only one: who carries another of the row is another element.
CONTRASTS: tuple[tuple[str, ...], ...] = (
    ("开始|起始|起", "结束|终止|截止|终了|迄|止|至"),
    ("男|男性", "女|女性"),
    ("本年|今年|当年|本期|本月|本年度|当月", "上年|去年|上期|上月|同期|上年同期|上年度", "全年|累计"),
    ("年初|期初|初始", "年末|期末"),
    ("同比", "环比"),
    ("新", "旧|原"),
    ("父|父亲", "母|母亲", "配偶", "子女"),
    ("出生", "死亡", "结婚", "离婚"),
    ("公费", "自费"),
    ("医保|统筹", "自费|自付", "救助|资助"),
    ("收入", "支出", "负债", "利润", "资产"),
    ("进口", "出口"),
    ("买方|买受|购买|购进|进货", "卖方|出卖|销售"),
    ("出租|房东", "承租|租客"),
    ("建设单位", "施工单位", "监理单位", "设计单位", "勘察单位"),
    ("申请", "受理", "审批|批准|核准", "审核", "办结", "发证|颁发", "注销", "变更", "登记"),
    ("户籍|户口", "居住|现住", "出生地", "通讯|通信", "注册", "经营", "办公"),
    ("最高|最大", "最低|最小", "平均|人均"),
    ("死亡", "受伤|轻伤|重伤", "失踪"),
    ("合格|达标", "不合格|不达标|超标"),
    ("应", "实"),
    ("许可|核定|规定|标准|目标", "实际|现状|实测"),
    ("计划|规划|预计|拟", "实际|完成", "已"),
    ("注册", "实缴|实收"),
    ("分队", "大队", "中队"),
    ("预算", "决算"),
    ("省", "市", "县", "乡|镇|街道", "村|社区"),
    ("城镇|城市|非农业", "农村|乡村|农业"),
    ("中文", "英文"),
    ("固定", "移动|手机"),
    ("左", "右"), ("东", "西", "南", "北"), ("上", "下", "中"), ("内", "外"), ("地上", "地下"),
    ("长|长度", "宽|宽度", "高|高度", "深|深度"), ("身高", "体重"),
    ("月", "年", "日", "季"),
    ("门诊", "急诊", "住院", "出院"),
    ("一次性", "定期"),
    ("公立", "私立"), ("国中", "国小", "高中", "幼儿园"),
    ("法定代表人|法人", "申请人", "联系人", "监护人", "负责人", "户主", "经办人", "股东", "产权人", "受益人", "配偶"),
)  # fmt: skip

# Words that say the same inside a name; the first stands for all. One character only where a name ends in it.
SYNONYMS: tuple[str, ...] = (
    "日期 时间 年月日 年月 时刻 -日", "编号 编码 代码 号码 证号 代号 识别号 -号 -码", "姓名 名字", "名称 全称 -名",
    "地址 住址 坐落 地点 位置 所在地 所在地址", "电话 电话号码 联系电话 联络电话 手机 手机号 手机号码 联系方式 联系手机",
    "金额 数额 款额 总额 -款 -金", "数量 数目 总数 总量 -数 -量", "人数 人员数 人口数 人数量 总人数", "单位 机构 机关 部门",
    "类别 类型 种类 分类", "等级 级别 等次", "开始 起始 -起", "结束 终止 截止 -止 -至 -迄", "费用 收费", "价格 单价 总价 -价",
    "用途 用处", "方式 形式 途径", "情况 状况 状态 标志 -否", "结果 结论", "原因 成因", "监测 检测", "补贴 补助", "职工 员工 从业人员",
    "首次 初次", "范围 科目", "家庭 全家", "学校 院校", "支出 开支 开销", "患者 病人", "身份证 公民身份", "面积 平米数", "资金 资本",
    "设立 成立", "使用 施用", "残疾 残障", "处罚 罚款", "车牌 号牌 牌照", "银行账户 银行账号 账号 账户 卡号", "比率 比例 占比 百分比 比重 -率",
    "收入 所得", "困难 贫困 致困 致贫", "办理 经办 承办", "主管 负责", "年度 年份", "房屋 房产", "救助 保障 低保 最低生活保障", "享受 待遇 享受待遇",
    "出租人 出租方 房东", "承租人 承租方 租客", "交易 成交", "残疾证 残疾人证", "租赁 出租 承租 租期 租约", "月 每月 月度", "年 每年 年度",
)  # fmt: skip

# How a value is written (representation, ISO/IEC 11179): names that end differently are different elements.
REPRESENTATIONS: dict[str, tuple[str, ...]] = {
    "名称": ("名称", "姓名"),
    "编号": ("编号", "号", "代码", "编码", "证号", "代号"),
    "地址": ("地址", "住址", "地点", "住所"),
    "电话": ("电话", "手机"),
    "传真": ("传真",),
    "网址": ("网址", "网站"),
    "日期": ("日期", "时间", "年月", "年月日"),
    "金额": ("金额", "费用", "价格", "单价", "总价", "资本", "资金", "额"),
    "数量": (
        "人数",
        "数量",
        "件数",
        "次数",
        "户数",
        "家数",
        "人次",
        "总数",
        "面数",
        "辆数",
    ),
    "比率": ("百分比", "比率", "比例", "占比", "率", "比重"),
    "面积": ("面积",),
    "等级": ("等级", "级别"),
    "类型": ("类型", "类别", "种类", "分类"),
    "状态": ("状态", "状况"),
}

# Names that say nothing about what they describe: the resource decides.
GENERIC = _listed(
    "名称 姓名 编号 代码 号码 地址 电话 联系电话 日期 时间 年度 年份 年 月份 月 类别 类型 状态 数量 金额 "
    "面积 性别 年龄 单位 区域 地区 行政区 行政区划 位置 经度 纬度 负责人 联系人 "
    "有效期 有效期限 有效期起 有效期止 发证日期 发证机关 登记日期 登记机关 证书编号 许可证号 证号 证件号 机关 部门 "
    "标题 内容 说明 描述 等级 结果 原因 用途 来源 合计 总计 "
    "name address phone date year month type status amount count title description code number category"
)
# What identifies an object wherever it stands: a register of all of them exists, whatever a resource is about.
IDENTIFIERS = _listed(
    "公民身份号码 统一社会信用代码 车牌号 不动产单元号 不动产权证号 地号 学籍号 残疾人证号 残疾证号"
)
# Names that are no data element at all: rows are counted and remarked upon everywhere.
MEANINGLESS = _listed(
    "备注 序号 项次 项 编次 项目 附注 其他 备考 排序 "
    "id no note notes remark remarks sequence updatetime url link"
)
# Object classes (对象类): person, enterprise, vehicle. Words of different rows are other populations.
POPULATIONS: tuple[tuple[str, ...], ...] = (
    ("自然人", "人口", "居民", "公民", "市民", "个人", "户籍", "村民"),
    (
        "企业",
        "法人",
        "市场主体",
        "公司",
        "商户",
        "工商户",
        "经营者",
        "厂商",
        "社会信用",
    ),
    ("学生", "学籍", "新生", "幼儿"),
    ("教师", "教职工"),
    ("医师", "护士", "医务人员", "药师"),
    ("医院", "医疗机构", "诊所"),
    ("患者", "病人", "病例"),
    ("机动车", "车辆", "汽车", "驾驶"),
    ("不动产", "房屋", "住房", "房产"),
    ("宗地", "土地", "地籍", "地块"),
    ("建筑物", "建设工程", "工地", "施工"),
    ("老年人", "老人", "养老"),
    ("残疾人", "身心障碍"),
    ("从业人员", "职工", "劳动者", "就业"),
    ("河道", "水质", "水体", "湖泊"),
    ("公园", "绿地"),
    ("家庭", "住户", "农户", "户主"),
)
# Words of titles that tell how something is kept, not what it is about.
PROCEDURAL = _listed(
    "采集 调查 普查 统计表 统计 登记 信息 数据 资料 情况 基本 名录 清单 清册 汇总 报表 一览表 明细 台账"
)
# Before a word they turn its meaning round.
NEGATIONS = ("非", "不", "未", "无", "免")
# Words that add nothing to a name.
NEUTRAL = ("的", "之", "所属", "相关", "基本", "信息", "具体", "详细", "享受", "本人")


# With one of these against it a match is another element, however much else speaks for it.
DIFFERENT = _listed(
    "contrast other_number other_representation separated_in_catalog held_apart ruled_different"
)
# With one of these against it a match is left to people, however much else speaks for it.
SEPARATIONS = _listed(
    "contrast other_number held_apart separated_in_catalog other_representation addition another_planned one_word ambiguous_initials other_topic "
    "generic_elsewhere "
    "ruled_different other_period other_group other_place other_part other_title same_agency"
)


@dataclass(frozen=True, slots=True)
class Model:
    """Weights of the contributions, which add up to the log-odds of the score, and where the bands begin.

    Computed from labelled pairs by `python -m bench.evaluation fit` and stored with its version.
    """

    version: str
    weights: dict[str, float]
    reuse_expected: float
    review: float

    def score(self, total: float) -> float:
        """The sum of contributions as 0-1: comparable between matches of one model version."""
        return round(1 / (1 + math.exp(-max(min(total, 30.0), -30.0))), 4)

    def band(self, score: float, reasons: Iterable[str]) -> Band:
        """What the score asks for, given the codes of its reasons; never a refusal."""
        codes = frozenset(reasons)
        if codes & DIFFERENT:
            return "new"
        if score >= self.reuse_expected and not codes & SEPARATIONS:
            return "reuse_expected"
        return "review" if score >= self.review else "new"


def stored_model(*, embeddings: bool = False) -> Model:
    """The model shipped with this release; the one with embeddings was fitted with them."""
    stored = json.loads(files("catalog.collection").joinpath("model.json").read_text("utf-8"))
    return Model(**stored["embeddings" if embeddings else "names"])


MODEL = stored_model()


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The shipped tables together with what people have decided: extra aliases, and pairs ruled different."""

    aliases: tuple[tuple[str, ...], ...] = ALIASES
    different: frozenset[frozenset[str]] = frozenset()  # keys of two names
    # One name in two contexts, each as (key, `Context.said`): ruled the same or not.
    in_context: Mapping[frozenset[tuple[str, str]], bool] = field(default_factory=dict)
    model: Model = field(default=MODEL)
