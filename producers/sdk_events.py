"""Makes the events that the upstream publishes; a password is sealed the moment it comes in."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline.secret import Secret
from pipeline.vault import PublicKey
from schemas.am_messages import EVENTS, AmData, AmEvent, NeedPay, NeedPayEvent, OrderPaidEvent, type_of
from schemas.orders import OrderPaid, Ticket


class EventMaker:
    """`vault_public_key` is `key_id:base64url` (the setting VAULT_PUBLIC_KEY, or GET /am/vault-key); None: no passwords."""

    def __init__(self, vault_public_key: str | PublicKey | None, source: str = "am") -> None:
        """Raises VaultError for what is no public key."""
        self._key = PublicKey.parse(vault_public_key) if isinstance(vault_public_key, str) else vault_public_key
        self._source = source

    def event(
        self,
        data: AmData,
        *,
        event_id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
    ) -> AmEvent:
        """The event that carries `data`. `source` + `event_id` name it for good: to send it again, keep the event.

        `traceparent` (W3C Trace Context) is the span of the caller's own that daifu's spans go under.
        """
        kind = next(event for event in EVENTS if event.model_fields["data"].annotation is type(data))
        return kind.model_validate(self._envelope(kind, data, event_id, time, traceparent))

    def order_paid(
        self,
        order: OrderPaid,
        *,
        event_id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
    ) -> OrderPaidEvent:
        """The user paid for `order`."""
        return OrderPaidEvent.model_validate(self._envelope(OrderPaidEvent, order, event_id, time, traceparent))

    def need_pay(
        self,
        *,
        order_no: str,
        agent: str,
        account: str,
        password: str | Secret | None = None,
        held_order_no: str | None = None,
        price_fen: int | None = None,
        tickets: Sequence[Ticket] = (),
        order: OrderPaid | None = None,
        asked_at: datetime | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> NeedPayEvent:
        """The agent asked, at `asked_at` (default now), to have its held order paid. Amounts are fen.

        `order` makes this the order's order.paid as well. Raises ValueError for a password without a vault key, or an empty one.
        """
        data = NeedPay(
            order_no=order_no,
            agent=agent,
            account=account,
            password_sealed=None if password is None else self._sealed(password),
            held_order_no=held_order_no,
            price_fen=price_fen,
            tickets=tuple(tickets),
            order=order,
        )
        return NeedPayEvent.model_validate(self._envelope(NeedPayEvent, data, event_id, asked_at, traceparent))

    def _envelope(
        self,
        kind: type[AmEvent],
        data: AmData,
        event_id: str | None,
        time: datetime | None,
        traceparent: str | None,
    ) -> dict[str, object]:
        return {
            "id": event_id or str(uuid.uuid4()),
            "source": self._source,
            "type": type_of(kind),
            "time": time or datetime.now(UTC),
            "subject": data.order_no,
            "traceparent": traceparent,
            "data": data,
        }

    def _sealed(self, password: str | Secret) -> str:
        if self._key is None:
            raise ValueError("a password needs the vault's public key (GET /am/vault-key)")
        if not password:
            raise ValueError("the password is empty")
        return self._key.seal(password)
