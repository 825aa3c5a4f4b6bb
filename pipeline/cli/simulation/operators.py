"""What operators do, through `pipeline/operations.py` like the CLI and the console: one transaction each, in words how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pipeline import operations
from pipeline.cli.simulation.customers import Customer
from pipeline.cli.simulation.trips import PRICE_FEN
from pipeline.operations import Scope
from pipeline.secret import Secret
from pipeline.store import picture
from pipeline.store.engine import Transaction

if TYPE_CHECKING:
    from pipeline.cli.simulation.people import People

ANNA, BORIS = "human:anna", "human:boris"
LONGEST_PAUSE_S = 900.0
PAUSED_STAGES = ("payment", "payment", "credentials", "settlement", "notification")
FATES: Final = {
    "nothing": operations.Fate.NEVER_DEBITED,
    "ticketed": operations.Fate.TICKETED,
    "lost": operations.Fate.REFUNDED,
}


def _replay(people: People, tx: Transaction, customer: Customer) -> str:
    letters = picture.rest(tx).letters
    letters = [letter for letter in letters if letter.order_no == customer.order_no] or letters
    return replay_letter(people, tx, people.random.choice(letters).id) if letters else "nothing"


def replay_letter(people: People, tx: Transaction, letter_id: int) -> str:
    """The dry run must say what then happens."""
    rules = people.house.rules
    plan = operations.would_replay(tx, operations.find_letter(tx, letter_id), rules)
    result = operations.replay(tx, letter_id, ANNA, rules, agreed="电话确认")
    if (plan.result == "replay") != (result.result == "replayed"):
        people.house.oracle.broken.append(f"dead letter {letter_id}: dry run {plan}, replay {result}")
    return result.result


def _discard(people: People, tx: Transaction, customer: Customer) -> str:
    # Nobody throws away what could not be read, or what killed intake three times: it may be an order.
    letters = [letter for letter in picture.rest(tx).letters if letter.order_no is not None]
    if not letters:
        return "nothing"
    letter = people.random.choice(letters)
    operations.discard(tx, letter.id, "不再处理", ANNA)
    if people.random.random() < 0.3:
        operations.restore(tx, letter.id, BORIS)
        return "restored"
    return "done"


def _pause(people: People, tx: Transaction, customer: Customer) -> str:
    scope = people.random.choice((Scope.STAGE, Scope.STAGE, Scope.AGENT, Scope.ACCOUNT))
    names = {
        Scope.STAGE: people.random.choice(PAUSED_STAGES),
        Scope.AGENT: customer.agent,
        Scope.ACCOUNT: customer.account,
    }
    name = names[scope]
    operations.pause(tx, scope, name, "演练", ANNA)
    people.house.oracle.paused(scope.value, name)
    people.house.later(people.random.uniform(1, LONGEST_PAUSE_S), lambda: resume(people, scope, name))
    return scope.value


def resume(people: People, scope: Scope, name: str) -> None:
    """End a pause, unless somebody did."""

    def work(tx: Transaction) -> str:
        operations.resume(tx, scope, name, "演练结束", BORIS)
        people.house.oracle.resumed(scope.value, name)
        return scope.value

    people.operate("resume", work)


def _top_up(people: People, tx: Transaction, customer: Customer) -> str:
    people.house.add_funds(tx, customer.agent, people.random.choice((PRICE_FEN, 10 * PRICE_FEN)))
    return "done"


def _unblock(people: People, tx: Transaction, customer: Customer) -> str:
    return unblock_account(people, tx, customer.account)


def unblock_account(people: People, tx: Transaction, login: str) -> str:
    """A person put the account right, as far as daifu is told."""
    operations.unblock(tx, login, ANNA)
    people.house.oracle.unblocked(login)
    return "done"


def _close_abnormal(people: People, tx: Transaction, customer: Customer) -> str:
    found = [row.order_no for row in picture.latest_purchases(tx) if row.state == "paid_abnormal"]
    if not found:
        return "nothing"
    return close_order(people, tx, people.random.choice(found), people.random.choice((ANNA, BORIS)))


def close_order(people: People, tx: Transaction, order_no: str, actor: str) -> str:
    """By what the oracle knows, as a person would who looked at 12306 and at the bank's statement."""
    oracle = people.house.oracle
    oracle.look()
    closed = operations.close_abnormal(
        tx,
        order_no,
        FATES[oracle.fate(order_no)],
        oracle.debited_fen(order_no) or None,
        "流水",
        actor,
        four_eyes_fen=people.house.settings.four_eyes_fen,
    )
    return closed.how.value if closed.done else "proposed"


def _set_password(people: People, tx: Transaction, customer: Customer) -> str:
    vault_key, secret = people.house.vault.public, Secret(customer.password)
    operations.set_password(tx, customer.agent, secret, vault_key, ANNA, login=customer.account)
    return "done"


def _resend_callback(people: People, tx: Transaction, customer: Customer) -> str:
    operations.resend_callback(tx, customer.order_no, BORIS)
    return "done"


def _resend_events(people: People, tx: Transaction, customer: Customer) -> str:
    operations.resend_events(tx, BORIS, order_no=customer.order_no)
    return "done"


Operate = Callable[["People", Transaction, Customer], str]

OPERATORS: Final[dict[str, Operate]] = {
    "replay": _replay,
    "discard": _discard,
    "pause": _pause,
    "top_up": _top_up,
    "unblock": _unblock,
    "close_abnormal": _close_abnormal,
    "set_password": _set_password,
    "resend_callback": _resend_callback,
    "resend_events": _resend_events,
}
