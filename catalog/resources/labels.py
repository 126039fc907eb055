"""The names of a record's fields in both languages, by JSON pointer without positions.

Pure data. Refusals and differences between versions speak of fields by these names.
"""

from __future__ import annotations

import re

from app.kernel.text import Text

FIELDS: dict[str, Text] = {
    "": Text("目录", "record"),
    "/title": Text("信息资源名称", "title"),
    "/title_en": Text("英文名称", "English title"),
    "/code": Text("信息资源代码", "resource code"),
    "/source_id": Text("来源标识", "identifier in the source"),
    "/provider": Text("提供方", "provider"),
    "/provider/name": Text("提供方名称", "provider's name"),
    "/provider/code": Text("提供方代码", "provider's code"),
    "/provider/department": Text("提供方内部部门", "provider's department"),
    "/abstract": Text("信息资源摘要", "abstract"),
    "/description": Text("来源说明", "the source's description"),
    "/classification": Text("信息资源分类", "classification"),
    "/classification/resource_class": Text("分类之类", "class"),
    "/classification/item": Text("分类之项", "item of the classification"),
    "/classification/section": Text("分类之目", "section"),
    "/classification/detail": Text("分类之细目", "detail"),
    "/themes": Text("主题", "themes"),
    "/base_library": Text("所属基础数据库", "base library"),
    "/categories": Text("来源分类", "the source's categories"),
    "/keywords": Text("关键词", "keywords"),
    "/format": Text("信息资源格式", "format"),
    "/format/format_class": Text("格式分类", "format class"),
    "/format/type": Text("格式类型", "format type"),
    "/format/other": Text("格式其他描述", "other format"),
    "/items": Text("信息项", "information items"),
    "/items/name": Text("信息项名称", "item's name"),
    "/items/name_en": Text("信息项英文名称", "item's English name"),
    "/items/code": Text("信息项代码", "item's code"),
    "/items/definition": Text("信息项说明", "item's definition"),
    "/items/data_type": Text("数据类型", "data type"),
    "/items/length": Text("数据长度", "length"),
    "/items/sharing_type": Text("信息项共享类型", "item's sharing type"),
    "/items/sensitive": Text("敏感个人信息", "sensitive personal information"),
    "/items/is_key": Text("主键", "key"),
    "/items/code_list": Text("数据字典", "code list"),
    "/items/grade": Text("信息项分级", "item's grade"),
    "/sharing": Text("共享属性", "sharing"),
    "/sharing/type": Text("共享类型", "sharing type"),
    "/sharing/condition": Text("共享条件", "conditions of sharing"),
    "/sharing/reason": Text("不予共享的理由", "reason for not sharing"),
    "/sharing/citation": Text("依据", "citation"),
    "/sharing/mode": Text("共享方式", "sharing mode"),
    "/sharing/mode/channel": Text("共享方式分类", "channel"),
    "/sharing/mode/type": Text("共享方式类型", "type of the mode"),
    "/openness": Text("开放属性", "openness"),
    "/openness/type": Text("是否向社会开放", "open to the public"),
    "/openness/condition": Text("开放条件", "conditions of openness"),
    "/update_cycle": Text("更新周期", "update cycle"),
    "/update_cycle_as_given": Text("其他更新周期", "other update cycle"),
    "/published_on": Text("发布日期", "date of publication"),
    "/modified_as_given": Text("来源更新日期", "last change in the source"),
    "/related_codes": Text("关联资源代码", "codes of related resources"),
    "/grade": Text("数据分级", "data grade"),
    "/licence": Text("开放许可", "licence"),
    "/landing_page": Text("网页", "landing page"),
    "/distributions": Text("获取方式", "distributions"),
    "/contact": Text("联系方式", "contact"),
    "/contact/name": Text("联系处室", "contact office"),
    "/contact/email": Text("联系邮箱", "contact e-mail"),
    "/contact/telephone": Text("联系电话", "contact telephone"),
    "/spatial": Text("空间范围", "spatial coverage"),
    "/temporal": Text("时间范围", "temporal coverage"),
    "/language": Text("语种", "language"),
    "/extra": Text("来源的其他字段", "other fields of the source"),
    "/secrecy_review": Text("保密审查", "secrecy review"),
    "/personal_information_assessment": Text(
        "个人信息保护影响评估", "personal information impact assessment"
    ),
    "/contains_secrets": Text("涉及国家秘密、工作秘密", "holds state or work secrets"),
}

_POSITION = re.compile(r"/\d+(?=/|$)")


def label(pointer: str) -> Text:
    """The name of the field a JSON pointer leads to; positions in lists do not matter."""
    plain = _POSITION.sub("", pointer)
    return FIELDS.get(plain) or FIELDS.get("/" + plain.split("/")[1], Text(pointer, pointer))
