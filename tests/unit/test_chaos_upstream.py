"""AM in a run under fire: what its reader of results outlives, and that a run whose reader is gone ends."""

from __future__ import annotations

import contextlib

import pika
import pytest
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout

from pipeline.vault import KeyRing
from tests.chaos.orders import Letters
from tests.chaos.upstream import Mailbox, Upstream


def reading(monkeypatch: pytest.MonkeyPatch, trouble: Exception) -> Mailbox:
    """A reader of results whose only connection ends like this."""
    mailbox = Mailbox("amqp://guest:guest@127.0.0.1:1/")

    def connect(_parameters: object) -> None:
        mailbox.stopping.set()
        raise trouble

    monkeypatch.setattr(pika, "BlockingConnection", connect)
    with contextlib.suppress(type(trouble)):
        mailbox.run()
    return mailbox


def test_the_reader_of_results_goes_on_after_a_handshake_that_got_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = reading(monkeypatch, AMQPConnectorStackTimeout("no end"))
    assert (mailbox.reconnected, mailbox.failure) == (1, None)


def test_a_reader_of_results_that_ends_by_a_mistake_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = reading(monkeypatch, ValueError("a mistake"))
    upstream = Upstream(
        "amqp://guest:guest@127.0.0.1:1/", "", Letters(KeyRing.generate().public), mailbox, [], over_s=1, deadline_s=1
    )
    with pytest.raises(ValueError, match="a mistake"):
        upstream.raise_failure()
