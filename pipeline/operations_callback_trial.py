"""Trying an agent's callback address: one signed call about an order that does not exist, and what the answer proves."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import dataclass
from enum import StrEnum

from pipeline.callback_form import TEST_ORDER_NO, TEST_PAY_STATUS, signed_body, webhook_headers
from pipeline.operations_agents import no_agent
from pipeline.operations_errors import person
from pipeline.ports import AgentCaller, CallbackAnswer
from pipeline.store import agent_keys, history
from pipeline.store.agent_keys import Callee
from pipeline.store.engine import Transaction
from pipeline.vault import KeyRing


class Verdict(StrEnum):
    TAKEN = "taken"  # ret true
    ANSWERED_FALSE = "answered_false"  # ret false: what many clients say to an order number that they do not know
    NOT_AS_AGREED = "not_as_agreed"  # an answer without ret, or with an error's status
    NOT_REACHED = "not_reached"  # no answer at all


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one call. `answer.answer` is the other side's text, or in English why there is none."""

    url: str
    answer: CallbackAnswer
    verdict: Verdict

    @property
    def works(self) -> bool:
        """The address is reached, and answers as agreed."""
        return self.verdict in (Verdict.TAKEN, Verdict.ANSWERED_FALSE)


def load_callee(tx: Transaction, code: str) -> Callee:
    """What a call needs, and no more: notification's role may read it. Raises NotFound."""
    found = agent_keys.callees(tx, [code]).get(code)
    if found is None:
        raise no_agent(code)
    return found


def try_callback(caller: AgentCaller, keys: KeyRing, code: str, agent: Callee) -> Trial:
    """Call the agent's address once. It blocks until the answer or the caller's own end, and changes nothing.

    Raises VaultError where the ring does not open the agent's keys.
    """
    body = signed_body(TEST_ORDER_NO, code, TEST_PAY_STATUS, keys.open(agent.merchant[0].sealed)).encode()
    secret = keys.open(agent.webhook[0].sealed)
    headers = webhook_headers(f"test:{uuid.uuid4().hex}", int(time.time()), body, [secret])
    answer = asyncio.run(caller.post(agent.url, body, headers))
    return Trial(agent.url, answer, verdict_of(answer))


def verdict_of(answer: CallbackAnswer) -> Verdict:
    """What the answer to a call about no order proves."""
    if answer.delivered:
        return Verdict.TAKEN
    if answer.status is None:
        return Verdict.NOT_REACHED
    if not 200 <= answer.status < 300:
        return Verdict.NOT_AS_AGREED  # a server that is broken may well say ret false with its 500
    try:
        said = json.loads(answer.answer)
    except (ValueError, RecursionError):
        said = None
    says_false = isinstance(said, dict) and str(said.get("ret")).strip().lower() == "false"
    return Verdict.ANSWERED_FALSE if says_false else Verdict.NOT_AS_AGREED


def record_trial(tx: Transaction, code: str, trial: Trial, actor: str) -> None:
    """Who had us call an agent's address, and what came of it."""
    history.audit(tx, person(actor), "callbacks.test", code, verdict=trial.verdict.value, status=trial.answer.status)
