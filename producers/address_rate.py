"""How often one address may ask, whatever it asks and whoever it says it is: looked at before anything of a request is."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from aiohttp import web
from aiohttp.typedefs import Handler

from pipeline.console.caller import address_behind
from producers.rate_limit import RateLimit

Refuse = Callable[[web.Request], web.Response]


class AddressRate:
    """For the applications of one process. `proxies`: whose `X-Forwarded-For` counts, else all behind one would be one caller."""

    def __init__(self, rate: RateLimit, proxies: tuple[IPv4Network | IPv6Network, ...]) -> None:
        self._rate, self._proxies = rate, proxies
        self._differently: dict[str, Refuse] = {}

    def refuse_by(self, prefix: str, refuse: Refuse) -> None:
        """Paths that begin so are answered by `refuse` instead of with status 429."""
        self._differently[prefix] = refuse

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """An application's first."""
        if self._rate.allows(_caller(self._address(request))):
            return await handler(request)
        for prefix, refuse in self._differently.items():
            if request.path.startswith(prefix):
                return refuse(request)
        return web.Response(status=429, text="too many requests from this address\n", headers={"Retry-After": "1"})

    def _address(self, request: web.Request) -> str:
        peer = request.remote or ""
        return (
            address_behind(peer, request.headers.getall("X-Forwarded-For", []), self._proxies)
            if self._proxies
            else peer
        )


@lru_cache(maxsize=10_000)
def _caller(address: str) -> str:
    """An IPv6 address is one of the 2^64 that its owner has: the network counts."""
    known = ip_address(address.partition("%")[0]) if address else None
    return address if known is None or known.version == 4 else str(ip_network((known, 64), strict=False))
