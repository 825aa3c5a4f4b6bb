"""RabbitMQ's management API: how tests make virtual hosts and look into queues."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any
from urllib.parse import quote

from tests.services.errors import ServiceFailed


class Management:
    """One broker's API. `user` is given every right on the virtual hosts made here."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self._host = host
        self._port = port
        self._user = user
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def __repr__(self) -> str:
        return f"Management({self._host}:{self._port})"

    def url(self, user: str, password: str) -> str:
        """Where this API is, as somebody else than the tests' own user."""
        return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{self._host}:{self._port}"

    def request(self, method: str, path: str, body: object = None) -> Any:
        """The decoded JSON answer (None where there is none) of `path` under `/api`. Raises ServiceFailed unless it is a 2xx,
        OSError or http.client.HTTPException where nobody answers."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=30)
        try:
            connection.request(method, f"/api{path}", None if body is None else json.dumps(body), self._headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise ServiceFailed(f"RabbitMQ's management API: {method} {path}: {response.status} {answer[:500]!r}")
        return json.loads(answer) if answer else None

    def version(self) -> str:
        return str(self.request("GET", "/overview")["rabbitmq_version"])

    def create_vhost(self, name: str) -> None:
        path = f"/vhosts/{quote(name, safe='')}"
        self.request("PUT", path, {})
        self.request(
            "PUT",
            f"/permissions/{quote(name, safe='')}/{quote(self._user, safe='')}",
            {"configure": ".*", "write": ".*", "read": ".*"},
        )

    def delete_vhost(self, name: str) -> None:
        """With its queues and connections; one that is not there is fine (a wiped node has lost it)."""
        known = {vhost["name"] for vhost in self.request("GET", "/vhosts?columns=name")}
        if name in known:
            self.request("DELETE", f"/vhosts/{quote(name, safe='')}")

    def queues(self, vhost: str) -> dict[str, dict[str, Any]]:
        """The queues of a virtual host by name, as the API describes them. Counts lag by a second or more."""
        return {queue["name"]: queue for queue in self.request("GET", f"/queues/{quote(vhost, safe='')}")}
