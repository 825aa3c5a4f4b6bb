"""A port in front of a server that a test can cut or make mute."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class RelayedPort:
    """A port of its own in front of the broker (or of nothing), where the line can be cut or made mute."""

    def __init__(self, upstream_port: int | None) -> None:
        self._upstream_port = upstream_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.number: int = self._listener.getsockname()[1]
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._cut_after: int | None = None
        self._mute = False

    def __enter__(self) -> RelayedPort:
        self._spawn(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for thread in self._threads:
            thread.join(5)

    def cut_after_bytes(self, count: int) -> None:
        """Once: the connection is cut after so many bytes more from the client."""
        self._cut_after = count

    def mute(self) -> None:
        """Nothing gets through any more; the connections stay."""
        self._mute = True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()

    def _cut(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(client)
                if self._upstream_port is not None:
                    server = socket.create_connection(("127.0.0.1", self._upstream_port))
                    self._sockets.append(server)
                    self._spawn(self._pump, client, server, True)
                    self._spawn(self._pump, server, client, False)

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:  # noqa: FBT001 - a thread's argument
        with contextlib.suppress(OSError):
            while chunk := source.recv(4096):
                if counted and self._cut_after is not None:
                    self._cut_after -= len(chunk)
                    if self._cut_after <= 0:
                        self._cut_after = None
                        self._cut()
                if not self._mute:
                    target.sendall(chunk)
            target.shutdown(socket.SHUT_RDWR)
