"""Key rings rotated while purchases are being paid: none fails for it, everything ends under the new keys, the old ones go, and
what was known under them stays known. In one process on SQLite; `test_canaries.py` rotates beside real workers on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from pipeline.clock import WallClock
from pipeline.store import sealed
from pipeline.store.engine import open_store
from pipeline.store.sealed import Ring
from pipeline.vault import RETIRE_AFTER, KeyRing, PublicKey
from producers.sdk_events import EventMaker
from tests.integration.pipeline_endings import paid, unpaid
from tests.integration.pipeline_house import House, start_embedded
from tests.integration.pipeline_orders import AGENT, Am, Bought
from tests.integration.pipeline_process import request, until

TOKEN: Final = "invented for these tests"
RINGS: Final[dict[Ring, str]] = {"passwords": "vault.json", "services": "service-keys.json"}
IN_FLIGHT: Final = ("busy_then_ok", "error_paid", "late_pay", "ok", "session_taken_over", "timeout_paid")


@pytest.fixture
def am(tmp_path: Path) -> Iterator[Am]:
    house = start_embedded(tmp_path, AM_TOKEN=TOKEN, CALLBACK_SCHEDULE_S="0.5,1,2,4")
    try:
        am = Am(house)
        am.add_agent()
        yield am
    finally:
        house.close()


def ring_of(house: House, name: Ring) -> KeyRing:
    return KeyRing.load(house.settings.home / RINGS[name])


def closed_with(house: House, name: Ring, *key_ids: str) -> dict[str, int]:
    with closing(open_store(house.settings.database, WallClock(), pool_size=1)) as store:
        return store.read(lambda tx: sealed.count_under(tx, name, key_ids))


def a_day_passes(house: House, name: Ring) -> None:
    """For the ring: its current key becomes old enough for the others to go."""
    path = house.settings.home / RINGS[name]
    ring = json.loads(path.read_text())
    made = WallClock().now() - RETIRE_AFTER - timedelta(minutes=1)
    ring["keys"][-1]["created_at"] = made.isoformat(timespec="seconds")
    path.write_text(json.dumps(ring))


def wave(am: Am, name: str, behaviours: tuple[str, ...] = IN_FLIGHT) -> dict[str, Bought]:
    """Orders with passwords in their messages, and one each by the account's own and by the unified password."""
    bought = {f"{name}-{behaviour}": am.buy(f"{AGENT}-{name}-{behaviour}", behaviour) for behaviour in behaviours}
    am.send_orders(bought.values())
    for source, account in (("own", "own@example.com"), ("unified", f"unified-{name}@example.com")):
        one = Bought(f"{AGENT}-{name}-{source}", am.hold(account, f"invented-{source}"), account, f"invented-{source}")
        am.send(am.messages(one, password=None))
        bought[f"{name}-{source}"] = one
    return bought


def test_purchases_are_paid_while_both_rings_are_rotated_and_their_old_keys_go(am: Am) -> None:
    house = am.house
    house.json("agents", "set-password", AGENT, stdin="invented-unified")
    house.json("agents", "set-password", AGENT, "--account", "own@example.com", stdin="invented-own")
    old = {name: ring_of(house, name).public.key_id for name in RINGS}
    wrong = am.buy(f"{AGENT}-wrong", "wrong_password")
    am.send_orders([wrong])
    bought = wave(am, "before")
    until("some are being paid", lambda: {row["state"] for row in am.rows().values()} & {"paying", "in_doubt"})

    rotated = {row["ring"]: row["public_key"] for row in house.json("vault", "rotate")}
    bought |= wave(am, "between", ("ok", "error_paid"))  # AM still seals with the old key
    done = {row["ring"]: row for row in house.json("vault", "reseal")}
    assert done["passwords"]["resealed"] >= 2
    assert done["services"]["resealed"] >= 2
    assert {row["unreadable"] for row in done.values()} == {0}
    status, key = request(
        f"http://{house.settings.http_listen}/am/vault-key", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert (status, str(PublicKey(key["key_id"], key["public_key"]))) == (200, rotated["passwords"])
    am.maker = EventMaker(rotated["passwords"])
    bought |= wave(am, "after", ("ok", "error_paid"))

    rows = am.wait_ended([wrong.order_no, *(one.order_no for one in bought.values())])
    am.check(wrong, unpaid("wrong_password"), rows[wrong.order_no])
    for one in bought.values():
        am.check(one, paid(), rows[one.order_no])
    house.json("vault", "reseal")  # what arrived under the old key after the first time
    for name, key_id in old.items():
        assert closed_with(house, name, key_id) == {}
        refused = house.cli("vault", "retire", "--ring", name, "--json")
        assert refused.code == 4
        assert "24 h" in refused.stderr

    fingerprints = {name: ring_of(house, name).held.fingerprint_key for name in RINGS}
    for name in RINGS:
        a_day_passes(house, name)
    assert [row["keys"] for row in house.json("vault", "retire")] == [1, 1]
    for name, key_id in old.items():
        assert key_id not in (house.settings.home / RINGS[name]).read_text()
        assert ring_of(house, name).held.fingerprint_key == fingerprints[name]
    last = wave(am, "last", ("ok",))
    again = Bought(f"{AGENT}-wrong-again", am.hold(wrong.account, "another"), wrong.account, wrong.password)
    am.send_orders([again])
    rows = am.wait_ended([again.order_no, *(one.order_no for one in last.values())])
    for one in last.values():
        am.check(one, paid(), rows[one.order_no])
    # The refused password is known as that by its fingerprint: no second login with it.
    assert rows[again.order_no]["reason"] == "wrong_password"
    assert [line["outcome"] for line in am.lines_of(wrong, "login")] == ["wrong_password"]
    am.audit_is_clean()
