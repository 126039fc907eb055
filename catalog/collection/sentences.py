"""What each kind of evidence is called when a match explains itself, in both languages."""

from __future__ import annotations

from app.kernel.text import Text

EMPTY = Text("（无）", "(none)")
SENTENCES = {
    "same_name": Text("名称相同（{name}）", "same name ({name})"),
    "alias": Text(
        "“{one}”与“{other}”是同一数据元的不同叫法",
        "“{one}” and “{other}” are names of one data element",
    ),
    "initials": Text("“{one}”是“{other}”的拼音首字母", "“{one}” are the pinyin initials of “{other}”"),
    "same_words": Text("“{one}”与“{other}”用词相同", "“{one}” and “{other}” say the same words"),
    "said_by_topic": Text(
        "名称之差“{one}”已由对方的采集对象或主题说明",
        "what the names differ by, “{one}”, the other's topic says",
    ),
    "similar_name": Text("名称相近（{share}%）", "similar names ({share}%)"),
    "very_similar_name": Text("名称很相近", "very similar names"),
    "similar_meaning": Text("语义相近（{share}%）", "similar in meaning ({share}%)"),
    "same_meaning": Text("语义几乎相同（{share}%）", "nearly the same meaning ({share}%)"),
    "nearest_here": Text("该资源中以此项最为接近", "of that resource's items this one is the nearest"),
    "another_nearer": Text("该资源中另有更接近的信息项", "another item of that resource is nearer"),
    "shared_words": Text("用词有 {share}% 相同", "{share}% of the words are the same"),
    "one_word": Text("一词之差：{one} ≠ {other}", "one word differs: {one} ≠ {other}"),
    "ambiguous_initials": Text(
        "目录中“{one}”可以是几个信息项的首字母", "in the catalog “{one}” may stand for several items"
    ),
    "other_words": Text("名称各有所指：{one} ≠ {other}", "each name says something else: {one} ≠ {other}"),
    "generic_same_topic": Text(
        "名称通用，而主题相近（{share}%）", "the name is generic, but the topics are close ({share}%)"
    ),
    "generic_same_population": Text(
        "名称通用，而采集对象相同", "the name is generic, but the population is the same"
    ),
    "same_company": Text("该资源还含有计划的其他信息项", "the resource also holds other items of the plan"),
    "held_apart": Text(
        "目录中有资源同时含有“{one}”和“{other}”",
        "some resource of the catalog holds both “{one}” and “{other}”",
    ),
    "another_planned": Text(
        "与计划的另一信息项“{one}”才是同一项", "it is the plan's other item “{one}” that it repeats"
    ),
    "ruled_same": Text("已有认定：二者是同一数据元", "already decided: this is one data element"),
    "identifying_number": Text(
        "通用的标识号码，处处同义", "a number that identifies its object wherever it stands"
    ),
    "unrelated": Text("主题与采集对象均不相近", "neither topic nor population is near"),
    "generic_addition": Text(
        "通用名称之外所加之词另有所指", "what is added to a generic name makes it another"
    ),
    "generic_elsewhere": Text("名称通用，而主题不同", "the name is generic, and the topics differ"),
    "other_period": Text("时期不同：{one} ≠ {other}", "another period: {one} ≠ {other}"),
    "same_agency": Text("同一单位的两个资源", "one agency keeps both"),
    "other_part": Text("同一系列的另一部分：{one} ≠ {other}", "another part of one series: {one} ≠ {other}"),
    "other_title": Text("资源主题不同", "the resources are about other subjects"),
    "other_place": Text("地域不同：{one} ≠ {other}", "another place: {one} ≠ {other}"),
    "other_group": Text("对象相对：{one} ≠ {other}", "another group: {one} ≠ {other}"),
    "other_topic": Text("主题不同", "the topics have nothing in common"),
    "generic_name": Text(
        "名称过于通用，须看采集对象",
        "the name is generic; it depends on whom it describes",
    ),
    "meaningless_name": Text("该名称不构成数据元", "the name is no data element"),
    "same_type": Text("数据类型一致", "same data type"),
    "other_type": Text("数据类型不同（{one} ≠ {other}）", "different data types ({one} ≠ {other})"),
    "same_code_list": Text("采用同一代码表", "same code list"),
    "other_code_list": Text("代码表不同（{one} ≠ {other}）", "different code lists ({one} ≠ {other})"),
    "both_identify": Text("均为标识项", "both identify the record"),
    "same_population": Text("采集对象相同（{one}）", "same population ({one})"),
    "kindred_population": Text("采集对象属同一类", "populations of the same kind"),
    "other_population": Text("采集对象不同（{one} ≠ {other}）", "different populations ({one} ≠ {other})"),
    "kindred": Text(
        "由信息项可知对象同类（{share}%）", "by what it holds it is about the same objects ({share}%)"
    ),
    "generic_kindred": Text(
        "名称通用，而对象同类（{share}%）", "the name is generic, but the objects are of one kind ({share}%)"
    ),
    "foreign": Text("由信息项可知对象不同类", "by what it holds it is about other objects"),
    "same_topic": Text(
        "所属资源与计划主题相近（{share}%）",
        "resource and plan are about the same topic ({share}%)",
    ),
    "same_definition": Text("定义相近（{share}%）", "similar definitions ({share}%)"),
    "contrast": Text("含义相对：{one} ≠ {other}", "opposed in meaning: {one} ≠ {other}"),
    "other_representation": Text("表示不同：{one} ≠ {other}", "written differently: {one} ≠ {other}"),
    "separated_in_catalog": Text(
        "目录中有 {count} 个资源将“{one}”与“{other}”作为不同信息项",
        "{count} resource(s) of the catalog keep “{one}” and “{other}” as separate items",
    ),
    "ruled_different": Text(
        "已有认定：二者不是同一数据元",
        "already decided: these are different data elements",
    ),
    "other_number": Text("编号或年份不同：{one} ≠ {other}", "different numbers: {one} ≠ {other}"),
    "addition": Text(
        "一方多出“{other}”，范围可能不同",
        "one side adds “{other}”; the scope may differ",
    ),
}
