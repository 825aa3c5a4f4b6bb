"""Who is calling: the address and whether it came by https, as far as the proxies in between are ours (CONSOLE_PROXIES)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

Networks = Iterable[IPv4Network | IPv6Network]


@dataclass(frozen=True, slots=True)
class Caller:
    address: str
    https: bool

    @property
    def scheme(self) -> str:
        return "https" if self.https else "http"


def caller_of(request: HTTPConnection, proxies: Networks) -> Caller:
    """`X-Forwarded-For` and `-Proto` count only from a proxy of ours, and of the first only what the nearest proxies wrote."""
    networks = tuple(proxies)
    address = request.client.host if request.client is not None else ""
    https = request.scope["scheme"] == "https"
    if not _within(address, networks):
        return Caller(address, https)
    https = https or request.headers.get("x-forwarded-proto", "").strip().lower() == "https"
    return Caller(address_behind(address, request.headers.getlist("x-forwarded-for"), networks), https)


def address_behind(peer: str, forwarded_for: Iterable[str], proxies: Networks) -> str:
    """The address that our own proxies saw: `peer`, unless it is one of them, and told another."""
    networks = tuple(proxies)
    address = peer
    hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
    while hops and _within(address, networks) and _is_address(hops[-1]):
        address = hops.pop()
    return address


def host_of(address: str) -> str | None:
    """Host and port of an absolute address that a browser sent; None for what is none (`http://[::1`)."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _within(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)
