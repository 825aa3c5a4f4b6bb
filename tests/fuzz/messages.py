"""Parsers of what AM, the broker and agents' programs send: messages, wake-ups, forms, sealed boxes, and a person's mending."""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import quote, urlencode

from pipeline.operations_errors import Refused as NotMended
from pipeline.operations_raw_edit import edited, masked_text
from pipeline.vault import KeyRing, VaultError
from producers.agents_reading import Refused, Rules, purchase_signed, read_go_pay, read_purchase, read_query
from schemas.am_messages import TYPES, parse, parse_event, parse_many
from schemas.dead_letter import DeadLetter, parse_dead_letter
from schemas.examples import FORMS, RESULT
from schemas.problems import InvalidMessage
from schemas.tts_forms import FormError, decode
from schemas.tts_signature import PROCESS_GO_PAY, QUERY_ORDERS, SIGNATURE, is_signed
from schemas.wakeup import parse_wakeup, wakeup
from tests.fuzz.parser import CUT, Parser, parts, plain, storable
from tests.unit.message_samples import body, event

RING = KeyRing.generate()
RULES = Rules("pw", password_signed=True, vault_key=RING.public, fingerprint=RING.fingerprint)


def am_message(data: bytes) -> None:
    """One message from the queue, one or an array over HTTP: read the same both ways, and fit to be stored."""
    with suppress(InvalidMessage):
        for message in parse_many(data):
            storable(message.data.model_dump_json())
            for text in (message.source, message.id, message.order_no):
                storable(text)
    with suppress(InvalidMessage):
        message = parse(data)
        assert parse(parse_event(data).model_dump_json(by_alias=True).encode()) == message


def am_seeds() -> list[bytes]:
    return [body(kind) for kind in TYPES] + [json.dumps([event(kind) for kind in TYPES]).encode()]


def queue_message(data: bytes) -> None:
    """What stages and the desk take from their queues."""
    with suppress(InvalidMessage):
        keys = parse_wakeup(data)
        assert parse_wakeup(wakeup(*keys)) == keys
    with suppress(InvalidMessage):
        letter = parse_dead_letter(data)
        storable(letter.detail)
        assert parse_dead_letter(letter.to_bytes()) == letter


def queue_seeds() -> list[bytes]:
    known = {
        "id": "letter-1",
        "stage": "intake",
        "order_no": "demo141117203122003",
        "generation": 1,
        "reason": "poison",
    }
    known |= {
        "detail": "data.fare_fen",
        "body_sealed": "k1.AAAA",
        "digest": "0" * 64,
        "at": "2014-11-17T20:31:22+08:00",
    }
    letter = DeadLetter.model_validate_json(json.dumps(known))
    bare = known | {"order_no": None, "generation": None, "body_sealed": None, "digest": None}
    return [wakeup("demo141117203122003:1:payment"), letter.to_bytes(), json.dumps(bare).encode()]


def agents_form(data: bytes) -> None:
    """A body or query string at the agents' door: signature, fields, the JSON inside of them."""
    try:
        form = decode(data)
    except FormError:
        return
    with suppress(Refused, FormError):
        for signed in (PROCESS_GO_PAY, QUERY_ORDERS, purchase_signed(form, RULES)):
            is_signed(form.get(SIGNATURE), "an invented merchant key", [form.get(name) for name in signed])
    for read in (read_purchase, read_go_pay):
        with suppress(Refused):
            ask = read(form, RULES)
            storable(json.dumps(ask.detail, ensure_ascii=False))
            for text in (ask.agent, ask.order_no, ask.login or "", ask.hold or ""):
                storable(text)
    with suppress(Refused):
        read_query(form)


def form_seeds() -> list[bytes]:
    signed = [{**fields, "HMAC": "A" * 32} for fields in FORMS.values()]
    raw = [b"&".join(f"{name}={value}".encode() for name, value in fields.items()) for fields in signed]
    half = ["&".join(f"{name}={quote(value, safe='{}[]:,')}" for name, value in one.items()).encode() for one in signed]
    return [urlencode(fields).encode() for fields in signed] + raw + half


def raw_edit(data: bytes) -> None:
    """A message that nobody could read, as the desk shows it, and as a person mends it."""
    message, text = parts(data, 2)
    shown = masked_text(message)
    shown.encode()  # a page can show it
    with suppress(NotMended):
        edited(message, shown)
    with suppress(NotMended, UnicodeDecodeError):  # a form's field is text
        edit = edited(message, text.decode())
        json.loads(edit.body)
        json.dumps(edit.changes, ensure_ascii=False).encode()


def edit_seeds() -> list[bytes]:
    mended = [CUT.join((body(kind), masked_text(body(kind)).replace("张三", "李四").encode())) for kind in TYPES]
    return [*mended, b"un=user&pw=in-clear&tel=13800001234", json.dumps(RESULT).encode()]


def sealed_box(data: bytes) -> None:
    """`password_sealed` of a message, which the payment worker opens."""
    with suppress(VaultError):
        RING.open(data.decode("utf-8", "surrogateescape"))


def box_seeds() -> list[bytes]:
    return [RING.seal("an invented password").encode(), KeyRing.generate().seal("x").encode()]


_JSON_WORDS = (b"null", b"true", b"[[[[[[[[", b'{"a":', b"1e999", b"-0.0", b'"\\ud800"', b"\\u0000", b"9" * 40, b"\xff")
_FORM_WORDS = (
    b"&",
    b"%00",
    b"%ff",
    b"%F0%9F",
    b"opt=NEED_PAY",
    b"opt=CONFIRM",
    b"opt=NO_TICKET",
    b"result=",
    b"&un=",
    b"price=",
)
_READING = ("schemas.problems", "schemas.fields", "schemas.am_messages", "schemas.envelope", "schemas.orders")

PARSERS = (
    Parser("am_messages", plain(am_message), am_seeds, (*_JSON_WORDS, b"order.paid"), _READING, 150),
    Parser(
        "queue_messages", plain(queue_message), queue_seeds, _JSON_WORDS, ("schemas.wakeup", "schemas.dead_letter"), 60
    ),
    Parser(
        "agents_forms",
        plain(agents_form),
        form_seeds,
        (*_FORM_WORDS, *_JSON_WORDS),
        (
            "producers.agents_reading",
            "schemas.tts",
            "schemas.tts_forms",
            "schemas.tts_fields",
            "schemas.tts_tickets",
            "schemas.tts_signature",
        ),
        150,
    ),
    Parser(
        "raw_edit",
        plain(raw_edit),
        edit_seeds,
        (*_JSON_WORDS, CUT, b"****", b'"***"'),
        ("pipeline.operations_raw_edit",),
        80,
    ),
    Parser("sealed_boxes", plain(sealed_box), box_seeds, (b".", b"k1.", b"=="), ("pipeline.vault",), 40, 512),
)
