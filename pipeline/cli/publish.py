"""`daifu publish`: put AM messages from a file in, by RabbitMQ or by the AM door where the broker is embedded."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import IO, Any

import click

from pipeline.cli.home import am_token
from pipeline.cli.house import vault_public
from pipeline.cli.output import as_json, emit, table
from pipeline.settings import Settings, read
from producers.sdk import Publisher
from schemas.am_messages import AmEvent, parse_event
from schemas.problems import InvalidMessage

DOOR_TIMEOUT_S = 30.0


@click.command()
@click.argument("source", type=click.File("rb"))
@as_json
def publish(source: IO[bytes], json_: bool) -> None:
    """Publish one message, an array, or one message a line, from FILE or - for stdin."""
    settings = read()
    bodies = _split(source.read())
    rows: list[dict[str, Any]] = []
    events: list[tuple[int, AmEvent]] = []
    for index, body in enumerate(bodies):
        try:
            event = parse_event(body)
        except InvalidMessage as error:
            rows.append({"id": None, "accepted": False, "error": f"message {index}: {error}"})
            continue
        events.append((len(rows), event))
        rows.append({"id": event.id, "accepted": False, "error": None})
    if events:
        send = _by_door if settings.embedded else _by_broker
        for (place, _event), (accepted, why) in zip(events, send(settings, [e for _, e in events]), strict=True):
            rows[place].update(accepted=accepted, error=why)
    emit(rows, json_=json_, human=lambda: table(rows, ("id", "accepted", "error")))
    sys.exit(0 if all(row["accepted"] for row in rows) else 1)


def _split(text: bytes) -> list[bytes]:
    """One JSON object, an array of them, or one a line; what is no JSON is passed on to be refused by name."""
    try:
        content = json.loads(text)
    except ValueError:
        return [line for line in text.splitlines() if line.strip()]
    messages = content if isinstance(content, list) else [content]
    return [json.dumps(message, ensure_ascii=False).encode() for message in messages]


def _by_broker(settings: Settings, events: list[AmEvent]) -> list[tuple[bool, str | None]]:
    with Publisher(settings.broker_url, vault_public(settings)) as publisher:
        return [
            (result.accepted, None if result.error is None else str(result.error))
            for result in publisher.publish_many(events)
        ]


def _by_door(settings: Settings, events: list[AmEvent]) -> list[tuple[bool, str | None]]:
    body = b"[" + b",".join(event.to_bytes() for event in events) + b"]"
    request = urllib.request.Request(
        f"http://{settings.http_listen}/am/messages",
        data=body,
        headers={"Authorization": f"Bearer {am_token(settings).reveal()}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=DOOR_TIMEOUT_S) as answer:  # noqa: S310
            json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")[:500]
        return [(False, f"HTTP {error.code}: {text}")] * len(events)
    except OSError as error:
        reason = f"http://{settings.http_listen} cannot be reached ({error}); is `daifu up` running?"
        return [(False, reason)] * len(events)
    return [(True, None)] * len(events)
