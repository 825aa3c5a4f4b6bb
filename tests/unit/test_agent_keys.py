"""An agent's key is changed: for 24 h it may sign with either, on a real address, by the store's clock; then with the new one only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import text

from pipeline import operations_agents as operations
from pipeline.agent_desk import KEY_TTL_S
from pipeline.callback_form import body_at_turn, signed_body, webhook_headers
from pipeline.clock import WallClock
from pipeline.http_server import HttpServer
from pipeline.metrics import Metrics
from pipeline.operations_agents import NewKey
from pipeline.operations_errors import NotFound, Refused
from pipeline.secret import Secret
from pipeline.store import agent_keys
from pipeline.store.agent_keys import OVERLAP, KeyKind
from pipeline.vault import KeyRing
from producers.agents_door import AgentsDoor
from producers.agents_reading import Rules
from producers.rate_limit import RateLimit
from schemas.tts_signature import QUERY_ORDERS, signature
from tests.contract.store_subjects import AGENT
from tests.unit.agents_desk import KEY, Desk, with_desk
from tests.unit.agents_visit import QUERY, FakeDesk, Visit

NEW, NEWEST = "another invented key", "one more"
ANN = "human:ann"
BAD_SIGNATURE = "103"


def change(desk: Desk, key: str, kind: KeyKind = KeyKind.MERCHANT, *, at_once: bool = False) -> NewKey:
    store, ring = desk.world.store, desk.ring.public
    return store.write(lambda tx: operations.change_key(tx, AGENT, kind, Secret(key), ring, ANN, at_once=at_once)).value


def at_the_door(directory: Path, story: Callable[[Desk, Visit], Awaitable[None]]) -> None:
    async def run(desk: Desk) -> None:
        vault, metrics, app = KeyRing.generate(), Metrics(), web.Application()
        rules = Rules("pw", True, vault.public, desk.ring.fingerprint)
        app.add_routes(AgentsDoor(desk.desk, rules, RateLimit(1_000.0, WallClock()), metrics.answered).routes())
        server = HttpServer(app)
        address = await server.start("127.0.0.1", 0)
        try:
            await story(desk, Visit(int(address.rpartition(":")[2]), FakeDesk(), vault, metrics))
        finally:
            await server.close()

    with_desk(directory, run)


async def asks(visit: Visit, key: str) -> str | None:
    """What an agent that signs with this key is answered: an errCode, or None."""
    form = {"merchantCode": AGENT, "type": "WAIT_TICKET"}
    return await visit.code(QUERY, {**form, "HMAC": signature(key, [form[name] for name in QUERY_ORDERS])})


def test_both_keys_sign_for_a_day_and_then_the_new_one_only(tmp_path: Path) -> None:
    async def story(desk: Desk, visit: Visit) -> None:
        assert await asks(visit, KEY) is None
        assert await asks(visit, NEW) == BAD_SIGNATURE
        new = change(desk, NEW)
        assert abs(new.old_ends_at - desk.world.clock.now() - OVERLAP) < timedelta(seconds=5)
        desk.world.clock.move(KEY_TTL_S)
        for _hour in range(23):
            assert [await asks(visit, key) for key in (KEY, NEW)] == [None, None]
            desk.world.clock.move(3_600)
        desk.world.clock.move(3_590)
        assert [await asks(visit, key) for key in (KEY, NEW)] == [None, None]
        desk.world.clock.move(11)  # less than what is read is kept for: an old key's end is kept to
        assert [await asks(visit, key) for key in (KEY, NEW)] == [BAD_SIGNATURE, None]

    at_the_door(tmp_path, story)


def test_a_key_changed_twice_leaves_each_old_one_its_own_day(tmp_path: Path) -> None:
    async def story(desk: Desk, visit: Visit) -> None:
        change(desk, NEW)
        desk.world.clock.move(12 * 3_600)
        change(desk, NEWEST)
        desk.world.clock.move(KEY_TTL_S)
        assert [await asks(visit, key) for key in (KEY, NEW, NEWEST)] == [None, None, None]
        desk.world.clock.move(12 * 3_600)
        assert [await asks(visit, key) for key in (KEY, NEW, NEWEST)] == [BAD_SIGNATURE, None, None]
        desk.world.clock.move(12 * 3_600)
        assert [await asks(visit, key) for key in (KEY, NEW, NEWEST)] == [BAD_SIGNATURE, BAD_SIGNATURE, None]

    at_the_door(tmp_path, story)


def test_a_key_that_leaked_is_good_no_more_within_seconds(tmp_path: Path) -> None:
    async def story(desk: Desk, visit: Visit) -> None:
        change(desk, NEW)
        change(desk, NEWEST, at_once=True)
        desk.world.clock.move(KEY_TTL_S + 1)
        assert [await asks(visit, key) for key in (KEY, NEW, NEWEST)] == [BAD_SIGNATURE, BAD_SIGNATURE, None]
        assert desk.world.rows("agent_old_keys") == []

    at_the_door(tmp_path, story)


def test_what_is_stored_is_sealed_and_the_audit_log_names_no_key(tmp_path: Path) -> None:
    async def story(desk: Desk, _visit: Visit) -> None:
        change(desk, NEW)
        made = desk.world.store.write(
            lambda tx: operations.change_key(tx, AGENT, KeyKind.WEBHOOK, None, desk.ring.public, ANN, at_once=False)
        ).value
        assert made.key.reveal().startswith("whsec_")
        for table in ("agents", "agent_old_keys", "audit_log"):
            held = str(desk.world.rows(table))
            assert not [secret for secret in (KEY, NEW, made.key.reveal()) if secret in held]
        acts = desk.world.rows("audit_log", "actor, action, subject")
        assert acts == [(ANN, "agents.change_key", AGENT)] * 2

    at_the_door(tmp_path, story)


@pytest.mark.parametrize("key", ["no prefix", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "!" * 40, "x whsec_" + "A" * 40])
def test_a_webhook_secret_has_the_shape_that_the_standard_wants(tmp_path: Path, key: str) -> None:
    async def story(desk: Desk, _visit: Visit) -> None:
        with pytest.raises(Refused, match="whsec_"):
            change(desk, key, KeyKind.WEBHOOK)
        assert change(desk, "whsec_" + "A" * 40, KeyKind.WEBHOOK).key.reveal() == "whsec_" + "A" * 40

    at_the_door(tmp_path, story)


def test_a_change_of_an_unknown_agent_or_of_a_key_changed_meanwhile_does_nothing(tmp_path: Path) -> None:
    async def story(desk: Desk, _visit: Visit) -> None:
        store, ring = desk.world.store, desk.ring.public
        with pytest.raises(NotFound):
            store.write(lambda tx: operations.change_key(tx, "x", KeyKind.MERCHANT, None, ring, ANN, at_once=False))
        stale = store.read(lambda tx: tx.run(text("SELECT merchant_key_sealed FROM agents")).scalar_one())
        change(desk, NEW)
        replaced = store.write(
            lambda tx: agent_keys.replace(tx, AGENT, KeyKind.MERCHANT, stale, ring.seal("lost"), OVERLAP)
        ).value
        assert replaced is None
        good = store.read(lambda tx: agent_keys.good(tx, [AGENT, "x"], KeyKind.MERCHANT))
        assert [desk.ring.open(each.sealed).reveal() for each in good[AGENT]] == [NEW, KEY]
        assert set(good) == {AGENT}

    at_the_door(tmp_path, story)


def test_a_callback_carries_a_signature_of_every_good_secret_and_takes_turns_with_the_form() -> None:
    new, old = Secret(NEW), Secret(KEY)
    by_new, by_old = (signed_body("o1", AGENT, "1", key) for key in (new, old))
    turns = [body_at_turn(by_old, calls, "o1", AGENT, "1", [new, old]) for calls in range(4)]
    assert turns == [by_new, by_old, by_new, by_old]
    assert body_at_turn(None, 0, "o1", AGENT, "1", [new]) == by_new
    assert body_at_turn(by_old, 5, "o1", AGENT, "1", [new]) == by_new  # the old key's day is over: nobody would take it
    stored = by_new.replace(
        "payStatus", "extra=x&payStatus"
    )  # as another version wrote it: its bytes, not rendered anew
    assert body_at_turn(stored, 3, "o1", AGENT, "1", [new]) == stored
    secrets = [Secret("whsec_" + "A" * 32), Secret("whsec_" + "B" * 32)]
    both = webhook_headers("w1", 1, b"body", secrets)["webhook-signature"].split()
    each = [webhook_headers("w1", 1, b"body", [secret])["webhook-signature"] for secret in secrets]
    assert both == each
    assert all(signature.startswith("v1,") for signature in both)
