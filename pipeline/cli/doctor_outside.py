"""What `daifu doctor` asks of the outside: 12306, the cashier, and whether agents' addresses may and can be called."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from itertools import islice
from typing import Any, Final

from pipeline.cli.context import callback_nets, http_allowed, opened
from pipeline.cli.doctor_inside import all_in_one
from pipeline.cli.findings import Finding, ok, warning, wrong
from pipeline.cli.house import railway_of
from pipeline.clock import WallClock
from pipeline.errors import Unreachable, Upstream
from pipeline.settings import Settings
from pipeline.store import agents

WITHIN_S: Final = 10.0
MOST_AGENTS: Final = 50
AT_ONCE: Final = 10
NOT_HERE: Final = "not set here: only the payment worker needs it"
PLAYED: Final = "played by the sandbox of `daifu up`"


def railway(settings: Settings) -> list[Finding]:
    if settings.railway_url is None or settings.cashier_url is None:
        return [_not_asked(settings)]
    asyncio.run(_within("railway", railway_of(settings, WallClock())[0].probe()))
    return [ok("answers")]


def cashier(settings: Settings) -> list[Finding]:
    if settings.railway_url is None or settings.cashier_url is None:
        return [_not_asked(settings)]
    asyncio.run(_within("cashier", railway_of(settings, WallClock())[1].probe()))
    return [ok("answers")]


def _not_asked(settings: Settings) -> Finding:
    names = (("DAIFU_RAILWAY_URL", settings.railway_url), ("DAIFU_CASHIER_URL", settings.cashier_url))
    missing = [name for name, value in names if value is None]
    if len(missing) == 1:
        return wrong(f"{missing[0]} is not set and the other one is", "set both or none")
    return ok(PLAYED if all_in_one(settings) else f"{missing[0]} and {missing[1]} {NOT_HERE}")


async def _within(upstream: Upstream, asking: Coroutine[Any, Any, None]) -> None:
    """Raises UpstreamError."""
    try:
        async with asyncio.timeout(WITHIN_S):
            await asking
    except TimeoutError:
        raise Unreachable(upstream, f"no answer within {WITHIN_S:g} s") from None


def callbacks(settings: Settings) -> list[Finding]:
    if not settings.database_url and not (settings.home / "daifu.sqlite3").exists():
        return []  # the database's own line says so
    if settings.embedded and not all_in_one(settings):
        return []  # where operators type nothing leads outside; the settings' own line says so
    with opened(settings) as store:
        urls = store.read(agents.addresses)
    found = asyncio.run(_addresses(settings, dict(islice(urls.items(), MOST_AGENTS))))
    asked = f"{min(len(urls), MOST_AGENTS)} of {len(urls)} agents' addresses"
    return found or [ok(f"{asked} may be called and take a connection" if urls else "no agent yet")]


async def _addresses(settings: Settings, urls: dict[str, str]) -> list[Finding]:
    from pipeline.outbound import HttpAgentCaller

    caller = HttpAgentCaller(http_allowed(settings), callback_nets(settings), WITHIN_S)
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(agent: str, url: str) -> Finding | None:
        async with turn:
            trouble = await caller.trouble(url)
        if trouble is None:
            return None
        advice = f"ask the agent; a new address: `daifu agents set-callback {agent} URL`; try it: `daifu callbacks test {agent}`"
        return warning(f"{agent}: {trouble}", advice)

    return [found for found in await asyncio.gather(*(one(*each) for each in urls.items())) if found is not None]
