"""RabbitMQ's definitions file: the topology, the policy, and every user with its rights, ready for `load_definitions`.

A file with passwords in it is made where it is needed and kept as a secret; the one in `deploy/rabbitmq/` has none, and with it
nobody can sign in until `rabbitmqctl change_password` gave a user one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from pipeline.broker.rights import POLICY, POLICY_DEFINITION, POLICY_PATTERN, RIGHTS, Rights
from pipeline.broker.topology import TOPOLOGY
from pipeline.secret import Secret

VHOST: Final = "daifu"
SALT_BYTES: Final = 4  # the format's


def definitions(vhost: str = VHOST, passwords: Mapping[str, Secret] | None = None) -> dict[str, Any]:
    """What `rabbitmqctl import_definitions` reads; `passwords` by user. Raises ValueError naming a user without one."""
    if passwords is not None and (missing := [it.user for it in RIGHTS if it.user not in passwords]):
        raise ValueError(f"no password for {', '.join(missing)}")
    return {
        "vhosts": [{"name": vhost}],
        "users": [_user(it, None if passwords is None else passwords[it.user]) for it in RIGHTS],
        "permissions": [
            {"user": it.user, "vhost": vhost, "configure": it.configure, "write": it.write, "read": it.read}
            for it in RIGHTS
        ],
        "topic_permissions": [
            {"user": it.user, "vhost": vhost, "exchange": exchange, "write": pattern, "read": "^$"}
            for it in RIGHTS
            for exchange, pattern in it.keys.items()
        ],
        "policies": [
            {
                "vhost": vhost,
                "name": POLICY,
                "pattern": POLICY_PATTERN,
                "apply-to": "queues",
                "definition": dict(POLICY_DEFINITION),
                "priority": 0,
            }
        ],
        "exchanges": [
            {**_durable(it.name, vhost), "type": "topic", "internal": False, "arguments": {}}
            for it in TOPOLOGY.exchanges
        ],
        "queues": [{**_durable(it.name, vhost), "arguments": dict(it.arguments)} for it in TOPOLOGY.queues],
        "bindings": [
            {
                "source": it.exchange,
                "vhost": vhost,
                "destination": it.queue,
                "destination_type": "queue",
                "routing_key": it.pattern,
                "arguments": {},
            }
            for it in TOPOLOGY.bindings
        ],
    }


def render(content: Mapping[str, Any]) -> str:
    """The file's text."""
    return json.dumps(content, indent=2) + "\n"


def password_hash(password: Secret, salt: bytes | None = None) -> str:
    """As RabbitMQ stores it (rabbit_password_hashing_sha256): base64 of a salt and the SHA-256 of salt and password."""
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.reveal_bytes()).digest()).decode()


def _user(rights: Rights, password: Secret | None) -> dict[str, Any]:
    return {
        "name": rights.user,
        "password_hash": "" if password is None else password_hash(password),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": rights.tags,
    }


def _durable(name: str, vhost: str) -> dict[str, Any]:
    return {"name": name, "vhost": vhost, "durable": True, "auto_delete": False}
