"""What every page of the console works with: database, key rings, settings. Made once, by whoever serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from urllib.parse import urlsplit

from pipeline.broker.port import Depths
from pipeline.callback_form import CALL_TIMEOUT_S
from pipeline.operations_import import Rules, rules_of
from pipeline.operations_payment_password import PaymentPasswords
from pipeline.operations_sign_in import SignIn
from pipeline.outbound import HttpAgentCaller
from pipeline.ports import AgentCaller
from pipeline.settings import Settings
from pipeline.store.engine import Store
from pipeline.vault import KeyRing, Sealer

REAL_RAILWAY = "12306.cn"
TRIALS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Desk:
    """`store` takes what a page makes due straight to the relay (`Store.impatient`); `vault_key` seals 12306 passwords;
    `depths` tells how deep the broker's queues are, without waiting for it."""

    store: Store
    settings: Settings
    service_keys: KeyRing
    vault_key: Sealer
    depths: Callable[[], Depths]
    sign_in: SignIn = field(init=False)
    agent_caller: AgentCaller = field(init=False)  # for trial calls
    trial_places: BoundedSemaphore = field(init=False)
    workbook_turn: asyncio.Semaphore = field(init=False)  # see exports.py

    def __post_init__(self) -> None:
        object.__setattr__(self, "sign_in", SignIn(self.store, self.service_keys))
        allowed = self.settings.callback_allow_http, self.settings.callback_allow_nets
        object.__setattr__(self, "agent_caller", HttpAgentCaller(*allowed, CALL_TIMEOUT_S))
        object.__setattr__(self, "trial_places", BoundedSemaphore(TRIALS_AT_ONCE))
        object.__setattr__(self, "workbook_turn", asyncio.Semaphore(1))

    @property
    def payment_passwords(self) -> PaymentPasswords:
        return PaymentPasswords(self.store, self.sign_in.passwords, self.vault_key)

    @property
    def replay_rules(self) -> Rules:
        return rules_of(self.settings, self.service_keys)

    @property
    def sandbox(self) -> bool:
        """Whether what is paid is play money: 12306's address is named and is not 12306's."""
        host = urlsplit(self.settings.railway_url or "").hostname or ""
        return bool(host) and host != REAL_RAILWAY and not host.endswith(f".{REAL_RAILWAY}")
