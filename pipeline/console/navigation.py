"""The menu: every page of the console that people go to by itself, in this order. What has no route is not shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.operations_users import Role

TITLES: Mapping[str, str] = {
    "/orders": "订单管理",
    "/dead-letters": "死信",
    "/abnormal": "出票异常",
    "/tasks": "任务",
    "/overview": "总览",
    "/controls": "暂停与恢复",
    "/funds": "资金",
    "/reconciliation": "对账",
    "/reports/sales": "报表",
    "/settings/payment": "代付设置",
    "/users": "用户管理",
    "/audit-log": "审计日志",
}


class Entry(NamedTuple):
    path: str
    title: str
    roles: frozenset[Role]


def entries(roles: Mapping[str, frozenset[Role]]) -> tuple[Entry, ...]:
    """Of the pages that there are (path: who may see it) those that the menu names."""
    return tuple(Entry(path, title, roles[path]) for path, title in TITLES.items() if path in roles)
