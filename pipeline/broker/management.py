"""RabbitMQ's management API, read: what AMQP can't ask for. Bindings, policies, and queues that nobody declared.

Which policy holds for a queue is not asked: the API says it from statistics, and leaves it out where there are none yet.
"""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from pipeline.broker.port import BrokerUnavailable
from pipeline.tls_words import tls_words

TIMEOUT_S: Final = 15.0


class Management:
    """One virtual host through the API at `url` (`http(s)://user:password@host:port`). Never print the URL."""

    def __init__(self, url: str, vhost: str) -> None:
        parts = urlsplit(url)
        self._https = parts.scheme == "https"
        self._place = f"{parts.hostname or '127.0.0.1'}:{parts.port or (443 if self._https else 15672)}"
        self._prefix = parts.path.rstrip("/")
        credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
        self._vhost = quote(vhost, safe="")

    def bindings(self) -> list[dict[str, Any]]:
        """Every binding, the default exchange's too."""
        return self._wanted("bindings")

    def queues(self) -> list[dict[str, Any]]:
        return self._wanted("queues")

    def policies(self) -> list[dict[str, Any]]:
        return self._wanted("policies")

    def operator_policies(self) -> list[dict[str, Any]] | None:
        """None where only an administrator is told."""
        return self._list("operator-policies")[1]

    def _wanted(self, what: str) -> list[dict[str, Any]]:
        status, content = self._list(what)
        if content is None:
            raise BrokerUnavailable(
                f"management API at {self._place}: {what} answered {status}; its user needs the tag policymaker and "
                "rights on the virtual host (DAIFU_BROKER_MANAGEMENT_URL)"
            )
        return content

    def _list(self, what: str) -> tuple[int, list[dict[str, Any]] | None]:
        """The HTTP status, and the rows where it is 200. Raises BrokerUnavailable where nobody answers as the API does."""
        connect = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        connection = connect(self._place, timeout=TIMEOUT_S)
        try:
            connection.request("GET", f"{self._prefix}/api/{what}/{self._vhost}", headers=self._headers)
            answer = connection.getresponse()
            body = answer.read()
            content = json.loads(body) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = tls_words(error) or f"{type(error).__name__}: {error}"
            raise BrokerUnavailable(f"management API at {self._place}: {why}") from None
        finally:
            connection.close()
        return answer.status, content if isinstance(content, list) else None
