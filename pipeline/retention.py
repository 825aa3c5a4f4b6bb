"""What an order keeps of its people when it is long over: names and tickets, no ID number, no phone, no address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: Stands where an ID number was: a message needs one, and this one matches nobody.
ERASED: Final = "*"


def without_personal(details: Mapping[str, Any]) -> dict[str, Any]:
    """The data of an order.paid without ID numbers, student numbers, phones and e-mail addresses; all else as it was."""
    left = dict(details)
    left["passengers"] = [_passenger(it) for it in details["passengers"]]
    contact = details.get("contact")
    if contact is not None:
        left["contact"] = {**contact, "phone": None, "email": None}
    return left


def _passenger(passenger: Mapping[str, Any]) -> dict[str, Any]:
    left = {**passenger, "id_no": ERASED}
    if passenger.get("student") is not None:
        left["student"] = {**passenger["student"], "student_no": ""}
    return left
