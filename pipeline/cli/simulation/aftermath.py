"""The phase without faults: everything must end. Operators do what is left to people, nobody does anything else."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from pipeline import operations
from pipeline.cli.simulation.operators import ANNA, BORIS, close_order, replay_letter, resume, unblock_account
from pipeline.cli.simulation.people import People
from pipeline.cli.simulation.trial import AGENTS, Trial
from pipeline.cli.simulation.trips import PRICE_FEN
from pipeline.ledger import Account
from pipeline.operations import Scope
from pipeline.reasons import RULES, Reason, Replay
from pipeline.store import ledger, picture
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries_desk import list_accounts, list_pauses
from pipeline.task_kinds import TaskKind

ROUND_S = 120.0
MOST_REPLAYS = 1
MOST_GENERATIONS = 6
SLACK_S = 3_600.0


class Aftermath:
    """`run` returns when nothing is left to do, or when it has taken too long; then `left` says what."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._people: People = trial.people
        self.left: list[str] = []
        self._told: set[str] = set()  # orders whose agent is told by hand, each once

    async def run(self) -> None:
        trial = self._trial
        trial.sky.clear()
        trial.road.on = False
        for life in trial.alive:
            life.clock_ahead_s = 0.0
        for pause in trial.read(list_pauses):
            resume(self._people, Scope(pause["scope"]), pause["name"])
        loop = asyncio.get_running_loop()
        end = loop.time() + self._longest_s()
        while loop.time() < end:
            await asyncio.sleep(ROUND_S)
            trial.drain()
            if self._done() and not self._tell_after_all():
                return
            self._work()
        self.left = self._words()

    def _longest_s(self) -> float:
        """The window of questions, twice because an outage is left out of it, and every callback's whole schedule."""
        settings = self._trial.settings
        return 2 * settings.verify_window_s + sum(settings.callback_schedule_s) * 2 + SLACK_S

    def _done(self) -> bool:
        trial = self._trial
        if trial.publisher.under_way or trial.is_busy or trial.broker.late:
            return False
        messages = any(queue for name, queue in trial.broker.queues.items() if name != "daifu.am")
        return not messages and trial.read(picture.rest).none

    def _tell_after_all(self) -> bool:
        """Somebody discarded what an agent was not told; now it is told. Whether there was such an order."""
        people, found = self._people, set(self._trial.read(picture.rest).given_up) - self._told
        for order_no in sorted(found):
            people.operate("resend_callback", partial(_told_again, order_no))
        self._told |= found
        return bool(found)

    def _words(self) -> list[str]:
        trial = self._trial
        rest = trial.read(picture.rest)
        words = [f"work left: {key}" for key in rest.steps]
        words += [f"dead letter left: {one.order_no}:{one.generation} {one.stage} {one.reason}" for one in rest.letters]
        words += [f"task left: {one.order_no} {one.kind} {one.reason}" for one in rest.tasks]
        words += [f"not told: {webhook_id}" for webhook_id in rest.untold]
        words += [f"result not sent: {key}" for key in rest.unsent]
        words += [f"{len(queue)} messages left in {name}" for name, queue in trial.broker.queues.items() if queue]
        words += [f"{trial.publisher.under_way} messages of AM's not confirmed"] * bool(trial.publisher.under_way)
        return words or ["somebody is still busy"]

    def _work(self) -> None:
        """One round of an operator's desk."""
        people = self._people
        rest = self._trial.read(picture.rest)
        for account in self._trial.read(lambda tx: list_accounts(tx, self._trial.clock.now())):
            if account["blocked"]:
                people.operate("unblock", partial(_unblocked, people, account["account"]))
        for task in rest.tasks:
            ended = people.operate(f"task_{task.kind}", partial(self._close, task, ANNA))
            if ended in ("proposed", "second_person"):  # by her, now or while everything failed
                people.operate(f"task_{task.kind}", partial(self._close, task, BORIS))
        for letter in rest.letters:
            if RULES[Reason(letter.reason)].replay is Replay.NEVER or not self._replayed(letter):
                people.operate("discard", partial(_discarded, letter.id))

    def _close(self, task: Row[Any], actor: str, tx: Transaction) -> str:
        if task.kind != TaskKind.CLOSE_ABNORMAL:
            operations.close_task(tx, task.id, "已处理", "流水", actor)
            return "closed"
        self._fill_funds(tx)  # what was taken may be more than was held
        return close_order(self._people, tx, task.order_no, actor)

    def _fill_funds(self, tx: Transaction) -> None:
        for agent in AGENTS:
            if ledger.balances(tx, agent)[Account.PROCUREMENT] < PRICE_FEN:
                self._trial.add_funds(tx, agent, PRICE_FEN)

    def _replayed(self, letter: Row[Any]) -> bool:
        """Each is replayed once; what comes of it is discarded. What an agent was not told is told again in any case."""
        once_more = letter.replays < MOST_REPLAYS and (letter.generation or 0) < MOST_GENERATIONS
        if letter.stage != "notification" and not once_more:
            return False
        people = self._people
        return people.operate("replay", lambda tx: replay_letter(people, tx, letter.id)) == "replayed"


def _unblocked(people: People, login: str, tx: Transaction) -> str:
    return unblock_account(people, tx, login)


def _discarded(letter_id: int, tx: Transaction) -> str:
    operations.discard(tx, letter_id, "不再处理", ANNA)
    return "done"


def _told_again(order_no: str, tx: Transaction) -> str:
    operations.resend_callback(tx, order_no, BORIS)
    return "done"
