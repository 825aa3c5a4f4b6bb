"""What orders are found by that people must not read elsewhere: a mark in place of the text.

A mark is 24 bits of a checksum: about six hundred mobile numbers share each, so it finds an order and tells nobody's number. Who
searches compares the text itself with the order's `details`, the only place that has it.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from schemas.orders import OrderPaid

BITS = 24
_APPOINTMENTS = {True: "是", False: "否"}


def mark(text: str | None) -> int | None:
    """None for no text. What is stored goes by it: it never changes."""
    return crc32(text.encode()) & ((1 << BITS) - 1) if text else None


def appointment_words(appointment: bool | str | None) -> str | None:  # noqa: FBT001 - as AM says it
    """AM's own word; 是 and 否 where it says only whether."""
    return _APPOINTMENTS[appointment] if isinstance(appointment, bool) else appointment or None


def searched_by(order: OrderPaid) -> dict[str, Any]:
    """The columns that an order is searched by."""
    contact = order.contact
    return {
        "ordered_at": order.ordered_at,
        "train_no": order.train_no,
        "from_station": order.from_station,
        "to_station": order.to_station,
        "appointment": appointment_words(order.appointment),
        "contact_mark": None if contact is None else mark(contact.name),
        "phone_mark": None if contact is None else mark(contact.phone),
        "insurance_mark": mark(order.insurance_no),
    }
