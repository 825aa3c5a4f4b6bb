"""TCP ports of the loopback interface."""

from __future__ import annotations

import contextlib
import socket
import time

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listened on a moment ago."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def answers(port: int, greeting: bytes = b"", host: str = LOOPBACK) -> bool:
    """Whether a connection is accepted and, where a greeting is sent, answered with at least one byte."""
    try:
        with socket.create_connection((host, port), timeout=2) as peer:
            if not greeting:
                return True
            peer.sendall(greeting)
            return bool(peer.recv(1))
    except OSError:
        return False


def nap() -> None:
    """The pause between two looks at something another process is doing."""
    time.sleep(0.05)
