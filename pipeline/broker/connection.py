"""How a connection to RabbitMQ is made, and what may be shown of its address."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import amqp.method_framing
import kombu

from pipeline.broker.buffered import Buffered
from pipeline.broker.port import BrokerUnavailable
from pipeline.tls_words import tls_words

#: Seconds. Below 5 a busy machine looks dead (RabbitMQ's heartbeat guide); the broker gives up after two of them.
HEARTBEAT_S: Final = 20
#: Seconds to connect and shake hands, and for one answer of the broker or one write to its socket afterwards.
CONNECT_TIMEOUT_S: Final = 5
SOCKET_TIMEOUT_S: Final = 10

#: kombu says it is typed and is only half so: to mypy it is untyped, as py-amqp is.
_kombu: Final[Any] = kombu

_CONTENT_HEADER: Final = 2  # frame type
_NO_PROPERTIES: Final = b"\x00\x00"

Frame = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Address:
    """A broker URL taken apart. Never print it: `safe_url` is for showing."""

    scheme: str
    host: str
    port: int
    user: str
    password: str
    vhost: str

    def __repr__(self) -> str:
        return f"Address({self.scheme}://***@{self.host}:{self.port}/{self.vhost})"


def safe_url(url: str) -> str:
    """The URL without user, password and options, for logs and errors: `amqp://***@mq.example:5672/daifu`.

    Cut by hand, not parsed: a password with an unescaped `/` or `#` in it must not show either.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or not scheme.isalnum():
        return "(broker URL without a scheme)"
    _, at, place = rest.rpartition("@")
    for end in "?#":
        place = place.partition(end)[0]
    return f"{scheme}://{'***@' if at else ''}{place}"


def parse_url(url: str) -> Address:
    """Read `amqp://user:password@host:port/vhost` (or `amqps://`; parts percent-encoded; no path, `/` and `//` mean the
    vhost "/"). Raises ValueError, which shows no credentials."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the broker URL is unreadable: its port must be a number, its brackets must close") from None
    if parts.scheme not in ("amqp", "amqps"):
        raise ValueError(f"broker URL {safe_url(url)}: must start with amqp://, amqps:// or memory://")
    if parts.query or parts.fragment or "@" in parts.path:
        raise ValueError(
            f"broker URL {safe_url(url)}: options behind ? or # are not supported; in user, password and vhost "
            "the characters / ? # @ : are written percent-encoded"
        )
    host = parts.hostname or "127.0.0.1"
    return Address(
        scheme=parts.scheme,
        host=f"[{host}]" if ":" in host else host,
        port=port or (5671 if parts.scheme == "amqps" else 5672),
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        vhost=unquote(parts.path[1:]) or "/",
    )


def connect(url: str, *, name: str, heartbeat_s: int = HEARTBEAT_S, stock: bool = False) -> Any:
    """Open an AMQP connection, blocking; returns py-amqp's connection as kombu's transport makes it.

    `stock`: on py-amqp's own socket handling instead of the buffered one.

    `name` is what the broker's management pages show. Whoever calls owns it: one thread, heartbeats, `close()`.
    TLS (amqps://) checks the certificate and the host name against the system's authorities (or `SSL_CERT_FILE`).
    Raises BrokerUnavailable, ValueError (the URL).
    """
    address = parse_url(url)
    client = _kombu.Connection(
        transport="pyamqp" if stock else Buffered,
        hostname=address.host,
        port=address.port,
        userid=address.user,
        password=address.password,
        virtual_host=address.vhost,
        login_method="PLAIN",
        ssl=_tls(address),
        connect_timeout=CONNECT_TIMEOUT_S,
        heartbeat=heartbeat_s,
        transport_options={
            "read_timeout": SOCKET_TIMEOUT_S,
            "write_timeout": SOCKET_TIMEOUT_S,
            "client_properties": {"connection_name": name},
            "frame_handler": frames_without_properties,
        },
    )
    try:
        connection = client.transport.establish_connection()
    except (OSError, amqp.AMQPError) as exc:
        raise BrokerUnavailable(f"no connection to {safe_url(url)}: {words(exc)}") from exc
    # The broker goes on telling of its alarms; py-amqp no longer looks for them before every message it sends.
    connection.client_properties.get("capabilities", {})["connection.blocked"] = False
    return connection


def close(connection: Any) -> None:
    """Say good-bye to the broker and close; a broker that does not answer in time is left. Never raises.

    Whatever arrives meanwhile still reaches its handlers, and a connection already lost fails in py-amqp in many ways; at
    the end of a connection none of it matters any more.
    """
    with contextlib.suppress(Exception):
        connection.close()
    connection.collect()


def frames_without_properties(connection: Any, callback: Callable[..., Any]) -> Callable[[Frame], Any]:
    """py-amqp's frame handler, given content headers without their property list.

    py-amqp raises out of its read loop on properties it can't decode (a `T` header in milliseconds is a year beyond
    9999; a content type that is not UTF-8). The connection is lost, the message redelivered, the connection lost again:
    one such message from upstream would block intake for ever. Messages here are their bodies; the rest is not read.
    A content header is class (2 bytes), weight (2), body size (8), property flags (2), properties (AMQP 0-9-1, 4.2.6.1).
    """
    stock = amqp.method_framing.frame_handler(connection, callback)

    def on_frame(frame: Frame) -> Any:
        kind, channel, payload = frame
        return stock((kind, channel, payload[:12] + _NO_PROPERTIES) if kind == _CONTENT_HEADER else frame)

    return on_frame


def words(exc: BaseException) -> str:
    """An exception of py-amqp, of TLS or of the socket in one line: the broker's own words where it said any."""
    if (said := tls_words(exc)) is not None:
        return said
    text = getattr(exc, "reply_text", None) or str(exc) or type(exc).__name__
    return " ".join(str(text).split())


def _tls(address: Address) -> dict[str, object] | bool:
    if address.scheme != "amqps":
        return False
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": address.host.strip("[]")}
