"""What kinds of work only a person can finish, what each is called, and what to do next, in plain Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class TaskKind(StrEnum):
    """As `tasks.kind` holds it."""

    CLOSE_ABNORMAL = "close_abnormal"
    IN_DOUBT = "in_doubt"  # the outcome of a submitted payment is not known after an hour
    CALLBACK_EXHAUSTED = "callback_exhausted"
    RAILWAY_REFUND = "railway_refund"  # more came back than we paid
    RECOVERED_HOLD = "recovered_hold"  # a restore may have forgotten its payment
    RECONCILIATION_BREAK = "reconciliation_break"


class KindRule(NamedTuple):
    """`words`: its name. `next_step`: what whoever takes it does. `by_itself`: it closes with what it waits for, never by hand."""

    words: str
    next_step: str
    by_itself: bool = False


KINDS: Final[Mapping[TaskKind, KindRule]] = MappingProxyType(
    {
        TaskKind.CLOSE_ABNORMAL: KindRule(
            "出票异常待结案", "到12306和收银台核实这笔钱, 在“出票异常”页按查明的情况结案", by_itself=True
        ),
        TaskKind.IN_DOUBT: KindRule(
            "支付结果超过一小时不明",
            "登录12306和收银台查看这个占座是否已支付; 系统会继续核实, 有结果时任务自动关闭, 不要再次支付",
            by_itself=True,
        ),
        TaskKind.CALLBACK_EXHAUSTED: KindRule(
            "代理商一直没有收到结果", "联系代理商修好回调地址, 然后在订单的死信上重发通知"
        ),
        TaskKind.RAILWAY_REFUND: KindRule("12306退款对不上", "查12306账单: 退款超过了我们付的钱, 查明来源后写明结论"),
        TaskKind.RECOVERED_HOLD: KindRule(
            "恢复后核实占座", "在12306和收银台查这个占座是否已支付, 选择“已支付”或“未支付”关闭"
        ),
        TaskKind.RECONCILIATION_BREAK: KindRule("对账差异", "在“对账”页对照支付宝账单, 查明差异后写明结论"),
    }
)


def rule_of(kind: str) -> KindRule:
    """Its rule; a kind that this version does not know is called by its code."""
    return KINDS[TaskKind(kind)] if kind in set(TaskKind) else KindRule(kind, "查明后写明结论")
