"""Words of the pages that no feature owns: fields of forms, parties, and which states go well, wait or stop."""

from __future__ import annotations

from app.kernel.text import Text

FIELD_NAMES: dict[str, Text] = {
    "reason": Text("理由", "reason"),
    "title": Text("名称", "title"),
    "purposes": Text("用途", "purpose"),
    "text": Text("用途", "purpose"),
    "business_matter": Text("业务事项", "business matter"),
    "legal_basis": Text("法律依据", "legal basis"),
    "method": Text("共享方式", "method"),
    "frequency": Text("共享频次", "frequency"),
    "valid_from": Text("有效期起", "valid from"),
    "valid_until": Text("有效期止", "valid until"),
    "calls_per_day": Text("每日调用次数", "calls a day"),
    "rows_per_day": Text("每日记录数", "rows a day"),
    "rows_per_call": Text("单次记录数", "rows a call"),
    "retention_days": Text("留存天数", "days kept"),
    "disposal": Text("到期处置", "disposal"),
    "security_measures": Text("安全保障措施", "security measures"),
    "scope": Text("数据范围", "scope"),
    "items": Text("信息项", "items"),
    "mask": Text("脱敏方式", "mask"),
    "keep": Text("脱敏参数", "how much is kept"),
    "width": Text("区间宽度", "width of the range"),
    "need_by": Text("需用日期", "needed by"),
    "answer": Text("申请问题的回答", "answer"),
    "ground": Text("理由类别", "ground"),
    "outcome": Text("结论", "outcome"),
    "reasons": Text("理由", "reasons"),
    "directions": Text("重新协商的要求", "directions"),
    "document": Text("文号", "document number"),
    "body": Text("内容", "text"),
    "working_days": Text("工作日数", "working days"),
    "to_agency_id": Text("数据持有单位", "the agency that holds the data"),
    "until": Text("截止日期", "until"),
    "name": Text("名称", "name"),
    "name_en": Text("英文名称", "English name"),
    "login": Text("登录名", "login"),
    "roles": Text("角色", "roles"),
    "again": Text("再次输入口令", "the password again"),
    "password": Text("口令", "password"),
    "current": Text("现用口令", "current password"),
    "code": Text("代码", "code"),
    "file": Text("文件", "file"),
    "period_from": Text("采集开始日期", "first day of collecting"),
    "period_until": Text("采集结束日期", "last day of collecting"),
    "population": Text("采集对象", "population"),
    "purpose": Text("目的", "purpose"),
    "matter": Text("事项或案号", "matter or case"),
    "unit": Text("使用处室", "office"),
    "used_at": Text("使用时间", "time of use"),
    "receipt_id": Text("回执", "receipt"),
    "means": Text("采集方式", "means"),
    "update_cycle": Text("采集周期", "how often"),
    "jwk": Text("公钥", "public key"),
    "scopes": Text("授权范围", "scopes"),
    "agency_id": Text("单位", "agency"),
    "credit_code": Text("统一社会信用代码", "credit code"),
    "entry": Text("存证编号", "entry"),
    "secrecy_review": Text("保密审查记录", "secrecy review"),
    "version": Text("版本", "version"),
    "records": Text("涉及的记录", "which records"),
    "error": Text("错误", "what is wrong"),
    "evidence": Text("证据", "evidence"),
    "resource": Text("信息资源", "resource"),
    "resource_id": Text("信息资源", "resource"),
    "message": Text("问题", "what is wrong"),
    "field": Text("所在字段", "field"),
    "person_id": Text("人员", "person"),
    "change": Text("变化", "what changed"),
    "citation": Text("依据", "citation"),
    "points": Text("待商事项", "open points"),
    "agreement_id": Text("协议编号", "agreement"),
    "respondents": Text("填报人数", "respondents"),
    "minutes_per_respondent": Text("每人用时", "minutes each"),
    "definition": Text("含义", "meaning"),
    "data_type": Text("类型", "type"),
    "key": Text("公钥", "public key"),
    "personal_information_assessment": Text("个人信息保护影响评估", "personal information impact assessment"),
    "contains_secrets": Text("含有秘密", "holds secrets"),
}

PARTY_NAMES: dict[str, Text] = {
    "requester": Text("需求方", "requester"),
    "provider": Text("提供方", "provider"),
    "authority": Text("主管部门", "authority"),
    "owner": Text("提供方", "owner"),
    "clock": Text("期限届满", "the clock"),
    "policy": Text("按规则", "by rule"),
    "ruling": Text("按裁决", "by ruling"),
    "system": Text("系统", "the system"),
    "importer": Text("导入", "import"),
    "worker": Text("后台", "background work"),
    "harvester": Text("采集器", "harvester"),
}

_TONES = {
    "go": "published FINALIZED IN_FORCE RULED cleared collecting SETTLED FINAL accepted adopted corrected confirmed"
    " finished active open new",
    "wait": "filed REQUESTED OFFERED ACCEPTED OPENED HEARING PROPOSED REVIEW SUSPENDED suspended flagged justified"
    " draft received previewed committing under_verification before_authority assigned appealed changed answered",
    "stop": "TERMINATED withdrawn returned upheld noticed blocked refused rejected stopped dismissed REVOKED revoked",
}
_TONE_OF = {state: tone for tone, states in _TONES.items() for state in states.split()}


def tone(state: str) -> str:
    """How a state's tag looks: going well, waiting for somebody, stopped; none for what is over or neutral."""
    return _TONE_OF.get(state, "")
