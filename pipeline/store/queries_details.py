"""What AM said of an order and which tickets it got, in the words of the screen; phones, ID numbers and contacts are masked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.masking import masked, masked_email, masked_name, masked_phone
from pipeline.store.marks import appointment_words
from schemas.codes import ID_TYPES, TICKET_TYPES, seat_name

Json = dict[str, Any]
Said = Mapping[str, Any]


def brief(details: Said) -> Json:
    """What a list shows of it."""
    return {
        "train_no": details.get("train_no"),
        "from_station": details.get("from"),
        "to_station": details.get("to"),
        "contact_name": masked_name((details.get("contact") or {}).get("name")),
        "seat": seat_name(details["seat"]["code"]) if "seat" in details else None,
        "seats": len(details.get("passengers") or ()),
    }


def whole(details: Said, tickets: Sequence[Said]) -> Json:
    """What the order's page shows beside `brief`. `tickets`: those that it got, empty while it has none."""
    contact = details.get("contact") or {}
    fare_fen, insurance_fen = details.get("fare_fen") or 0, details.get("insurance_fen") or 0
    return {
        "trip": details.get("trip"),
        "fallback_seats": [seat_name(seat["code"]) for seat in details.get("fallback_seats") or ()],
        "passengers": _passengers(details.get("passengers") or (), tickets),
        "contact_phone": masked_phone(contact.get("phone")),
        "contact_email": masked_email(contact.get("email")),
        "insurance_fen": insurance_fen,
        "insurance_no": details.get("insurance_no"),
        "total_fen": fare_fen + insurance_fen,
        "appointment": appointment_words(details.get("appointment")),
        "source": details.get("source"),
        "tickets": [_ticket(ticket) for ticket in tickets],
        "ticket_numbers": _numbers(tickets),
        "issued_seats": " ".join(f"{name}({n})" for name, n in _seats(tickets).items()),
    }


def _ticket(ticket: Said) -> Json:
    return {
        "ticket_no": ticket["ticket_no"],
        "seat": seat_name(ticket["seat_type"]),
        "seat_no": ticket["seat_no"],
        "price_fen": ticket["price_fen"],
        "passenger_name": ticket.get("passenger_name") or "",
        "seq": ticket.get("seq") or "0",
    }


def _passengers(people: Sequence[Said], tickets: Sequence[Said]) -> list[Json]:
    """Each with the seat of the ticket in its name; where tickets name nobody, in their order."""
    left = list(tickets)
    shown = []
    for place, person in enumerate(people):
        own = next((one for one in left if one.get("passenger_name") == person["name"]), None)
        if own is None and place < len(tickets) and not tickets[place].get("passenger_name"):
            own = tickets[place]
        if own in left:
            left.remove(own)
        shown.append(
            {
                "name": person["name"],
                "id_type": ID_TYPES.get(person["id_type"], person["id_type"]),
                "id_no": masked(person["id_no"]),
                "ticket_type": TICKET_TYPES.get(person["ticket_type"], person["ticket_type"]),
                "seat_no": "" if own is None else own["seat_no"],
            }
        )
    return shown


def _numbers(tickets: Sequence[Said]) -> str:
    """E646076788 / E646076788(第0程), leg by leg."""
    legs: dict[str, list[str]] = {}
    for ticket in tickets:
        legs.setdefault(str(ticket.get("seq") or "0"), []).append(ticket["ticket_no"])
    return " ".join(f"{' / '.join(numbers)}(第{seq}程)" for seq, numbers in legs.items())


def _seats(tickets: Sequence[Said]) -> Counter[str]:
    return Counter(seat_name(ticket["seat_type"]) for ticket in tickets)
