"""Every parser there is, by name."""

from __future__ import annotations

from tests.fuzz import agents_and_bills, cashier, messages, pages, servers, upstreams
from tests.fuzz.parser import Parser

PARSERS: dict[str, Parser] = {
    parser.name: parser
    for parser in (
        *messages.PARSERS,
        *upstreams.PARSERS,
        *cashier.PARSERS,
        *agents_and_bills.PARSERS,
        *servers.PARSERS,
        *pages.PARSERS,
    )
}
