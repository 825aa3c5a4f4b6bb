"""The menu: every page of the console that people go to by itself, in this order. What has no route is not shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.operations_users import Role

TITLES: Mapping[str, str] = {
    "/orders": "订单管理",
    "/statistics": "订单统计",
    "/dead-letters": "死信",
    "/abnormal": "出票异常",
    "/tasks": "任务",
    "/overview": "监控",
    "/controls": "暂停与恢复",
    "/funds": "资金",
    "/reconciliation": "对账",
    "/announcements": "系统公告",
    "/reports/sales": "销售明细报表",
    "/users": "用户管理",
    "/settings/payment": "代付设置",
    "/audit-log": "审计日志",
}


# The first page: as the source document groups them, in its words, then what only staff has.
GROUPS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "订单管理": (("/statistics", "订单统计"), ("/orders", "订单列表"), ("/reports/sales", "销售明细报表")),
    "系统公告": (("/announcements", "系统公告"),),
    "用户管理": (
        ("/users#add", "添加账户"),
        ("/account#password", "修改密码"),
        ("/account#me", "当前账号信息"),
        ("/users#list", "账号列表"),
    ),
    "代付设置": (("/settings/payment", "代付设置"),),
    "监控": (("/overview", "监控"), ("/controls", "暂停与恢复")),
    "采购失败": (("/dead-letters", "死信"), ("/abnormal", "出票异常"), ("/tasks", "任务")),
    "资金": (("/funds", "资金"), ("/reconciliation", "对账")),
    "审计": (("/audit-log", "审计日志"),),
}


class Entry(NamedTuple):
    path: str
    title: str
    roles: frozenset[Role]


class Group(NamedTuple):
    title: str
    entries: tuple[Entry, ...]


def entries(roles: Mapping[str, frozenset[Role]]) -> tuple[Entry, ...]:
    """Of the pages that there are (path: who may see it) those that the menu names."""
    return tuple(Entry(path, title, roles[path]) for path, title in TITLES.items() if path in roles)


def groups(roles: Mapping[str, frozenset[Role]], role: Role) -> tuple[Group, ...]:
    """What a role finds on the first page; a group without any page is left out."""
    found = []
    for title, places in GROUPS.items():
        known = ((path, name, roles.get(path.partition("#")[0], frozenset())) for path, name in places)
        found.append(Group(title, tuple(Entry(*place) for place in known if role in place[2])))
    return tuple(group for group in found if group.entries)
