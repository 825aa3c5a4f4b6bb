"""Pausing and resuming a stage, an agent or a 12306 account, and unblocking an account."""

from __future__ import annotations

from enum import StrEnum

from pipeline.operations_errors import NotFound, Refused, person, words_of
from pipeline.store import accounts, control, history, stops
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.work import STAGES


class Scope(StrEnum):
    STAGE = "stage"
    AGENT = "agent"
    ACCOUNT = "account"


def pause(tx: Transaction, scope: Scope, name: str, reason: str, actor: str) -> int:
    """Hold back everything of it that has no intent yet; questions go on. Returns how many open attempts it closed.

    Raises NotFound for an unknown stage or agent, Refused where it is paused already.
    """
    person(actor)
    reason = words_of(reason, "reason")
    _known(tx, scope, name)
    if not control.pause(tx, scope.value, name, reason, actor, now(tx)):
        raise Refused("already_paused", f"{scope} {name} 已暂停")
    closed = 0
    if scope is not Scope.STAGE:
        closed = stops.close_of(tx, scope.value, name)
    elif name == "payment":
        closed = stops.close_all(tx)
    history.audit(tx, actor, f"pause.{scope}", name, reason=reason, closed_attempts=closed)
    return closed


def resume(tx: Transaction, scope: Scope, name: str, reason: str, actor: str) -> None:
    """End a pause; what waited is woken at once. Raises Refused where it is not paused."""
    person(actor)
    if not control.resume(tx, scope.value, name):
        raise Refused("not_paused", f"{scope} {name} 没有暂停")
    if scope is Scope.STAGE:
        control.wake_stage(tx, name)
    else:
        stops.wake_of(tx, scope.value, name)
    history.audit(tx, actor, f"resume.{scope}", name, reason=reason.strip())


def unblock(tx: Transaction, login: str, actor: str) -> None:
    """A person put the account right: refused tries and passwords are forgotten, the next login is made. Raises NotFound."""
    if not accounts.unblock(tx, login):
        raise NotFound(f"没有12306账号 {login}: 用 `daifu accounts list` 查看")
    history.audit(tx, person(actor), "accounts.unblock", login)


def _known(tx: Transaction, scope: Scope, name: str) -> None:
    if scope is Scope.STAGE and name not in STAGES:
        raise NotFound(f"没有阶段 {name}: {', '.join(STAGES)}")
    if scope is Scope.AGENT and not accounts.known_agents(tx, [name]):
        raise NotFound(f"没有代理商 {name}: 用 `daifu agents list` 查看")
    words_of(name, "account")
