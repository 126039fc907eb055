"""Code lists of the catalog record (编制指南, GB/T 21063.3, GB/T 43697) with their names in both languages.

Pure data. What the lists demand of each other is `record.check_record`'s.
"""

from __future__ import annotations

from enum import StrEnum

from app.kernel.text import Text


class ResourceClass(StrEnum):
    """信息资源分类: the first digit of a resource's code."""

    BASE = "1"
    THEME = "2"
    DEPARTMENT = "3"


RESOURCE_CLASSES: dict[ResourceClass, Text] = {
    ResourceClass.BASE: Text("基础信息资源", "base resource"),
    ResourceClass.THEME: Text("主题信息资源", "theme resource"),
    ResourceClass.DEPARTMENT: Text("部门信息资源", "department resource"),
}


class SharingType(StrEnum):
    """共享类型 (809-15)."""

    UNCONDITIONAL = "unconditional"
    CONDITIONAL = "conditional"
    NOT_SHARED = "not_shared"


SHARING_TYPES: dict[SharingType, Text] = {
    SharingType.UNCONDITIONAL: Text("无条件共享", "shared unconditionally"),
    SharingType.CONDITIONAL: Text("有条件共享", "shared on conditions"),
    SharingType.NOT_SHARED: Text("不予共享", "not shared"),
}


class Openness(StrEnum):
    """开放属性: towards the public."""

    UNCONDITIONAL = "unconditional"
    CONDITIONAL = "conditional"
    NOT_OPEN = "not_open"


OPENNESS: dict[Openness, Text] = {
    Openness.UNCONDITIONAL: Text("无条件开放", "open unconditionally"),
    Openness.CONDITIONAL: Text("有条件开放", "open on conditions"),
    Openness.NOT_OPEN: Text("不予开放", "not open"),
}


class UpdateCycle(StrEnum):
    """更新周期."""

    REAL_TIME = "real_time"
    DAILY = "daily"
    WEEKLY = "weekly"
    TEN_DAYS = "ten_days"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    HALF_YEARLY = "half_yearly"
    YEARLY = "yearly"
    OTHER = "other"


UPDATE_CYCLES: dict[UpdateCycle, Text] = {
    UpdateCycle.REAL_TIME: Text("实时", "real time"),
    UpdateCycle.DAILY: Text("每日", "daily"),
    UpdateCycle.WEEKLY: Text("每周", "weekly"),
    UpdateCycle.TEN_DAYS: Text("每旬", "every ten days"),
    UpdateCycle.MONTHLY: Text("每月", "monthly"),
    UpdateCycle.QUARTERLY: Text("每季度", "quarterly"),
    UpdateCycle.HALF_YEARLY: Text("每半年", "half-yearly"),
    UpdateCycle.YEARLY: Text("每年", "yearly"),
    UpdateCycle.OTHER: Text("其他", "other"),
}


class Channel(StrEnum):
    """共享方式分类: where shared information travels."""

    PLATFORM = "platform"
    MAIL = "mail"
    MEDIUM = "medium"


CHANNELS: dict[Channel, Text] = {
    Channel.PLATFORM: Text("共享平台", "shared platform"),
    Channel.MAIL: Text("邮件", "mail"),
    Channel.MEDIUM: Text("介质", "storage medium"),
}


class PlatformMode(StrEnum):
    """共享方式类型 on the shared platform."""

    DATABASE = "database"
    FILE = "file"
    INTERFACE = "interface"


PLATFORM_MODES: dict[PlatformMode, Text] = {
    PlatformMode.DATABASE: Text("数据库", "database"),
    PlatformMode.FILE: Text("文件", "file"),
    PlatformMode.INTERFACE: Text("接口", "interface"),
}


class FormatClass(StrEnum):
    """信息资源格式分类."""

    DOCUMENT = "document"
    SPREADSHEET = "spreadsheet"
    DATABASE = "database"
    IMAGE = "image"
    MEDIA = "media"
    SELF_DESCRIBED = "self_described"
    SERVICE = "service"


FORMAT_CLASSES: dict[FormatClass, Text] = {
    FormatClass.DOCUMENT: Text("电子文件", "document"),
    FormatClass.SPREADSHEET: Text("电子表格", "spreadsheet"),
    FormatClass.DATABASE: Text("数据库", "database"),
    FormatClass.IMAGE: Text("图形图像", "image"),
    FormatClass.MEDIA: Text("流媒体", "streaming media"),
    FormatClass.SELF_DESCRIBED: Text("自描述格式", "self-described format"),
    FormatClass.SERVICE: Text("服务接口", "service interface"),
}

# Types of each class, as 编制指南 lists them; after them those in use today. Compared without regard to case.
FORMAT_TYPES: dict[FormatClass, tuple[str, ...]] = {
    FormatClass.DOCUMENT: ("OFD", "wps", "xml", "txt", "doc", "docx", "html", "pdf", "ppt", "pptx"),
    FormatClass.SPREADSHEET: ("et", "xls", "xlsx", "csv", "ods"),
    FormatClass.DATABASE: (
        "Dm", "KingbaseES", "access", "dbf", "dbase", "sysbase", "oracle", "sqlserver", "db2", "mysql",
        "postgresql", "opengauss", "GBase", "oceanbase", "sqlite",
    ),
    FormatClass.IMAGE: ("jpg", "gif", "bmp", "png", "tiff"),
    FormatClass.MEDIA: ("swf", "rm", "mpg", "mp4", "mp3"),
    FormatClass.SELF_DESCRIBED: ("json", "ndjson", "geojson", "kml", "kmz", "shp", "gml", "rdf", "parquet", "zip"),
    FormatClass.SERVICE: ("REST", "SOAP", "WMS", "WFS", "WMTS", "OGC API"),
}  # fmt: skip

# What a format can be handed over as: files do not come out of a database connection.
FITTING_MODES: dict[FormatClass, frozenset[PlatformMode]] = {
    FormatClass.DOCUMENT: frozenset({PlatformMode.FILE, PlatformMode.INTERFACE}),
    FormatClass.SPREADSHEET: frozenset({PlatformMode.FILE, PlatformMode.INTERFACE}),
    FormatClass.IMAGE: frozenset({PlatformMode.FILE, PlatformMode.INTERFACE}),
    FormatClass.MEDIA: frozenset({PlatformMode.FILE, PlatformMode.INTERFACE}),
    FormatClass.SELF_DESCRIBED: frozenset({PlatformMode.FILE, PlatformMode.INTERFACE}),
    FormatClass.DATABASE: frozenset(PlatformMode),
    FormatClass.SERVICE: frozenset({PlatformMode.INTERFACE}),
}


class DataType(StrEnum):
    """数据类型 of an information item."""

    CHARACTER = "C"
    NUMERIC = "N"
    CURRENCY = "Y"
    DATE = "D"
    DATETIME = "T"
    LOGICAL = "L"
    MEMO = "M"
    GENERAL = "G"
    DOUBLE = "B"
    INTEGER = "I"
    FLOAT = "F"


DATA_TYPES: dict[DataType, Text] = {
    DataType.CHARACTER: Text("字符型", "character"),
    DataType.NUMERIC: Text("数值型", "numeric"),
    DataType.CURRENCY: Text("货币型", "currency"),
    DataType.DATE: Text("日期型", "date"),
    DataType.DATETIME: Text("日期时间型", "date and time"),
    DataType.LOGICAL: Text("逻辑型", "logical"),
    DataType.MEMO: Text("备注型", "memo"),
    DataType.GENERAL: Text("通用型", "general"),
    DataType.DOUBLE: Text("双精度型", "double"),
    DataType.INTEGER: Text("整型", "integer"),
    DataType.FLOAT: Text("浮点型", "float"),
}


class BaseLibrary(StrEnum):
    """基础数据库 (Regulation Art. 18; 社会信用 and 电子证照 since)."""

    POPULATION = "population"
    LEGAL_PERSON = "legal_person"
    GEOGRAPHY = "geography"
    MACRO_ECONOMY = "macro_economy"
    SOCIAL_CREDIT = "social_credit"
    ELECTRONIC_LICENCE = "electronic_licence"


BASE_LIBRARIES: dict[BaseLibrary, Text] = {
    BaseLibrary.POPULATION: Text("人口", "population"),
    BaseLibrary.LEGAL_PERSON: Text("法人", "legal persons"),
    BaseLibrary.GEOGRAPHY: Text("自然资源和空间地理", "natural resources and geography"),
    BaseLibrary.MACRO_ECONOMY: Text("宏观经济", "macro-economy"),
    BaseLibrary.SOCIAL_CREDIT: Text("社会信用", "social credit"),
    BaseLibrary.ELECTRONIC_LICENCE: Text("电子证照", "electronic licences"),
}


class Theme(StrEnum):
    """主题."""

    PUBLIC_SERVICE = "public_service"
    HEALTH = "health"
    SOCIAL_SECURITY = "social_security"
    FOOD_AND_DRUGS = "food_and_drugs"
    WORK_SAFETY = "work_safety"
    PRICES = "prices"
    ENERGY = "energy"
    CREDIT = "credit"
    CONSTRUCTION = "construction"
    COMMUNITY = "community"
    ENVIRONMENT = "environment"
    EMERGENCY = "emergency"
    EDUCATION = "education"
    TRANSPORT = "transport"
    CULTURE = "culture"
    ECONOMY = "economy"
    OTHER = "other"


THEMES: dict[Theme, Text] = {
    Theme.PUBLIC_SERVICE: Text("公共服务", "public services"),
    Theme.HEALTH: Text("健康保障", "health"),
    Theme.SOCIAL_SECURITY: Text("社会保障", "social security"),
    Theme.FOOD_AND_DRUGS: Text("食品药品安全", "food and drug safety"),
    Theme.WORK_SAFETY: Text("安全生产", "work safety"),
    Theme.PRICES: Text("价格监管", "price supervision"),
    Theme.ENERGY: Text("能源安全", "energy security"),
    Theme.CREDIT: Text("信用体系", "credit system"),
    Theme.CONSTRUCTION: Text("城乡建设", "urban and rural construction"),
    Theme.COMMUNITY: Text("社区治理", "community governance"),
    Theme.ENVIRONMENT: Text("生态环保", "ecology and environment"),
    Theme.EMERGENCY: Text("应急维稳", "emergencies and stability"),
    Theme.EDUCATION: Text("教育科技", "education and science"),
    Theme.TRANSPORT: Text("交通运输", "transport"),
    Theme.CULTURE: Text("文化旅游", "culture and tourism"),
    Theme.ECONOMY: Text("经济运行", "economy"),
    Theme.OTHER: Text("其他", "other"),
}


class Grade(StrEnum):
    """数据分级 (GB/T 43697), from the mildest to the strictest."""

    GENERAL = "general"
    IMPORTANT = "important"
    CORE = "core"


GRADES: dict[Grade, Text] = {
    Grade.GENERAL: Text("一般数据", "general"),
    Grade.IMPORTANT: Text("重要数据", "important"),
    Grade.CORE: Text("核心数据", "core"),
}
GRADE_ORDER: tuple[Grade, ...] = tuple(GRADES)
