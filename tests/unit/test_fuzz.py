"""Every parser of `python -m tests.fuzz`: its seeds, inputs made from them the same way each time, and whatever a fuzzer once found."""

from __future__ import annotations

import random
import re
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alipay_bill import BadBill, read_bill
from tests.fuzz.every import PARSERS
from tests.fuzz.parser import CUT, Parser
from tests.fuzz.upstreams import AT, TRADE
from tests.unit.bill_world import Moved, account_bill
from tests.unit.properties import repeatable

FEW: Final = {"http_doors": 60, "http_framing": 60}
QUICK: Final = [
    name for name in PARSERS if name != "console"
]  # test_console_guards asks each of its routes as its seeds do
INPUTS: Final = 150
BILL: Final = account_bill([Moved(TRADE, 41_300, AT, "1")], AT, AT + timedelta(days=1))


def changed(chance: random.Random, parser: Parser, seeds: list[bytes]) -> bytes:
    """A seed with a few bytes, words and pieces of other seeds put in, taken out, or repeated."""
    found = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 5)):
        at, size = chance.randint(0, len(found)), chance.choice((0, 0, 1, 2, 8, 40))
        other = chance.choice(seeds)
        start = chance.randint(0, len(other))
        put = (
            chance.choice(parser.words) if parser.words else b"",
            chance.randbytes(chance.randint(1, 3)),
            other[start : start + chance.randint(1, 60)],
            bytes(found[at : at + 30]) * 2,
            b"",
        )
        found[at : at + size] = chance.choice(put)
    return bytes(found[: parser.longest])


# Starlette leaves the spooled file of a multipart form that breaks off to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", QUICK)
def test_a_parser_takes_its_seeds_and_what_becomes_of_them(name: str) -> None:
    parser, chance = PARSERS[name], random.Random(name)
    seeds = parser.seeds()
    with parser.opened() as take:
        for content in seeds:
            take(content)
        for _ in range(FEW.get(name, INPUTS)):
            take(changed(chance, parser, seeds))


@repeatable(60)
@given(st.sampled_from([name for name in QUICK if name not in FEW]), st.binary(max_size=200))
def test_a_parser_takes_any_bytes(name: str, content: bytes) -> None:
    with PARSERS[name].opened() as take:
        take(content)


# What was found, and mended: parser -> inputs. By hand while the fuzzer was written, unless it says otherwise.
FOUND: Final[dict[str, dict[str, bytes]]] = {
    "raw_edit": {
        "lists in lists, deeper than they can be shown": b"[" * 900 + b"]" * 900,
        "objects in objects": b'{"a":' * 600 + b"1" + b"}" * 600,
        "half a surrogate pair as a value": b'{"remark":"\\ud800"}',
        "half a surrogate pair as a name": b'{"\\ud800":1}',
        "half a surrogate pair in what a person wrote": b'{"remark":1}' + CUT + b'{"remark":"\\ud800"}',
    },
    "alipay_bills": {
        "a period to the end of time": re.sub(
            r"终止日期：\[[^]]*]", "终止日期：[9999年12月31日 23:59:59]", BILL
        ).encode(),
        "a period from the first day": re.sub(
            r"起始日期：\[[^]]*]", "起始日期：[0001年01月01日 00:00:00]", BILL
        ).encode(),
        "a count of 5,000 digits": BILL.replace("支出合计：1笔", f"支出合计：{'9' * 5_000}笔").encode(),
        "a sum of 5,000 digits": BILL.replace("共-", f"共{'9' * 5_000}").encode(),
        "so many lines": f"{BILL}共{'9' * 5_000}笔记录\n".encode(),
    },
    "http_doors": {
        "a body that says it is packed and is not": b"POST /api/pub/ProcessPurchase.do HTTP/1.1\r\nHost: daifu\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nopt=",
        "a chunk that is none, in a form": b"POST /login HTTP/1.1\r\nHost: daifu\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nname=\r\nno chunk\r\n",
        "an expectation in no encoding (the fuzzer)": b"POST /api/pub/ProcessPurchase.do HTTP/1.1\r\nHost: daifu\r\n"
        b"Content-Length: 4\r\nExpect: 100t\xff\r\n\r\nopt=",
        "a sender that goes before its body is whole (the fuzzer)": b"POST /api/pub/ProcessPurchase.do HTTP/1.1\r\nHost: daifu\r\n"
        b"Content-Length: 400\r\n\r\nopt=",
    },
}


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, inputs in FOUND.items() for what in inputs])
def test_what_was_found_stays_mended(name: str, what: str) -> None:
    with PARSERS[name].opened() as take:
        take(FOUND[name][what])


def test_a_bill_that_claims_more_than_it_holds_is_refused() -> None:
    """Not only without a crash: a total that can't be read must not count as none."""
    read_bill(BILL.encode())
    for content in list(FOUND["alipay_bills"].values()):
        with pytest.raises(BadBill):
            read_bill(content)
