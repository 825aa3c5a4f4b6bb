"""Certificates good and bad, and a listener that shows one."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services.tls import Authority, Certificate

NAME: Final = "localhost"  # what the certificates are for; 127.0.0.1 is the same server by another name


@dataclass(frozen=True)
class Papers:
    """An authority that is trusted, one that is not, and what they issued."""

    ours: Authority
    theirs: Authority
    good: Certificate
    expired: Certificate
    other_name: Certificate
    stranger: Certificate


def make_papers(folder: Path) -> Papers:
    ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
    return Papers(
        ours,
        theirs,
        ours.issue("good", NAME),
        ours.issue("expired", NAME, days=-1),
        ours.issue("other-name", "elsewhere.example"),
        theirs.issue("stranger", NAME),
    )


class Listener:
    """A TLS server that shows one certificate and says nothing more: enough for who must not go on."""

    def __init__(self, shown: Certificate) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(shown.certificate, shown.key)
        self._context = context
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = int(self._sockets[0].getsockname()[1])
        if socket.has_ipv6:
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        self.shook_hands = 0
        for each in self._sockets:
            threading.Thread(target=self._serve, args=(each,), daemon=True).start()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(client, server_side=True) as line:
                    self.shook_hands += 1
                    line.recv(1)
            except OSError:
                client.close()

    def close(self) -> None:
        for each in self._sockets:
            each.shutdown(socket.SHUT_RDWR)
            each.close()
