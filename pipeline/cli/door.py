"""What `daifu serve` and `daifu up` listen with: the AM HTTP door."""

from __future__ import annotations

import structlog
from aiohttp import web

from pipeline import acceptance
from pipeline.acceptance import Conflict
from pipeline.broker.messages import wake_message
from pipeline.broker.port import BrokerUnavailable, Outbox, Unroutable
from pipeline.cli.assembly import limits_of
from pipeline.cli.house import House
from pipeline.secret import Secret
from pipeline.store import engine
from pipeline.store.engine import Transaction
from pipeline.vault import PublicKey
from producers.am_door import StoreUnavailable, create_door
from schemas.am_messages import AmMessage
from schemas.problems import InvalidMessage, Problem

log = structlog.get_logger()


def am_door(house: House, outbox: Outbox, public_key: PublicKey, token: Secret) -> web.Application:
    """The door as an application: accepted means committed; the wake-ups follow, by the relay if the broker is away."""
    limits = limits_of(house.settings)

    def accept_all(tx: Transaction, messages: list[AmMessage]) -> list[str]:
        words = []
        for index, message in enumerate(messages):
            try:
                words.append(acceptance.accept(tx, message, limits, origin="http").result)
            except Conflict as conflict:
                raise InvalidMessage((Problem(conflict.field, conflict.reason, index),)) from None
        return words

    async def accept(messages: list[AmMessage]) -> list[str]:
        try:
            done = await house.executor.run(lambda: house.store.write(lambda tx: accept_all(tx, messages)))
        except engine.StoreUnavailable as error:
            raise StoreUnavailable(str(error)) from error
        if done.wakes:
            try:
                await outbox.publish([wake_message(stage, key) for key, stage in done.wakes.items()])
            except (BrokerUnavailable, Unroutable) as error:
                log.warning("wakeups_left_to_relay", messages=len(done.wakes), error=str(error))
        return done.value

    return create_door(accept, (public_key.key_id, public_key.public_key), token)
