"""Messages known to another version of this program, and decisions that are overtaken: neither may turn one down for good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.acceptance import Conflict, content_digest
from pipeline.store import orders
from pipeline.store.engine import StoreUnavailable, Transaction
from schemas.am_messages import NeedPay, parse
from tests.unit.message_samples import ORDER, ORDER_NO, body
from tests.unit.order_world import World, order_world


@pytest.fixture
def paid(tmp_path: Path) -> Iterator[World]:
    """The order is known."""
    with order_world(tmp_path) as made:
        made.hear("order.paid")
        yield made


class Later(NeedPay):
    """What a later version of this program may make of the message: a field more, with a default."""

    coupon: str = "none"


def test_a_field_that_a_later_version_adds_makes_a_known_message_no_other_one() -> None:
    message = parse(body("purchase.need_pay"))
    assert isinstance(message.data, NeedPay)
    later = message._replace(data=Later.model_validate_json(message.data.model_dump_json()))
    assert content_digest(later) == content_digest(message)
    other = message._replace(data=message.data.model_copy(update={"price_fen": 1}))
    assert content_digest(other) != content_digest(message)


def test_a_paid_order_is_compared_in_what_both_versions_know(paid: World) -> None:
    def forget(tx: Transaction) -> None:
        details = json.loads(orders.details_of(tx, [ORDER_NO])[ORDER_NO])
        older = {name: value for name, value in details.items() if name != "appointment"}
        older["passengers"] = [
            {name: value for name, value in one.items() if name != "ticket_type"} for one in details["passengers"]
        ]
        orders.update_order(tx, ORDER_NO, details=older | {"gone": "since"})

    paid.store.write(forget)
    assert paid.hear("order.paid").result == "repeat"
    with pytest.raises(Conflict, match=r"data\.passengers"):
        paid.hear("order.paid", passengers=[{**ORDER["passengers"][0], "name": "李四"}])
    with pytest.raises(Conflict, match=r"data\.passengers"):
        paid.hear("order.paid", passengers=[ORDER["passengers"][0], ORDER["passengers"][0] | {"name": "李四"}])


def test_a_request_whose_order_moves_under_it_is_not_refused_for_good(
    paid: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as racing:
        racing.setattr(orders, "next_generations", lambda *_: {})
        with pytest.raises(StoreUnavailable):
            paid.hear("purchase.need_pay", message_id="r1")
    assert paid.rows("requests", "id", "type = 'purchase.need_pay'") == []
    assert paid.hear("purchase.need_pay", message_id="r1").result == "accepted"
