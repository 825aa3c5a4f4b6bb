"""How publishing can fail, as the upstream sees it. None of these texts holds a login, a password or a message's content."""

from __future__ import annotations

import ssl

from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorException,
)
from pika.exceptions import (
    AMQPConnectionError,
    AMQPHeartbeatTimeout,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from pipeline.errors import DaifuError
from pipeline.tls_words import tls_words

BLOCKED = "the broker takes no messages (memory or disk alarm)"


class PublishError(DaifuError):
    """A message was not accepted by the broker."""


class Unroutable(PublishError):
    """The broker is there, but no exchange or queue takes this message: the topology is not applied. Nothing is stored."""


class Refused(PublishError):
    """The broker said no: a nack, a missing right, or a message over the size limit. Nothing is stored for sure."""


class Unreachable(PublishError):
    """No confirm came in time. The message may have arrived: publish the same event again, its id makes it a repeat."""


def why(error: BaseException) -> str:
    """pika's reason in words that hold no credentials."""
    reason = _innermost(error)
    match reason:
        case ProbableAuthenticationError():
            return "the login was refused"
        case ProbableAccessDeniedError():
            return "no access to the virtual host"
        case ConnectionBlockedTimeout():
            return BLOCKED
        case AMQPHeartbeatTimeout():
            return "no heartbeats from the broker"
        case ConnectionClosedByBroker():
            return f"closed by the broker: {reason.reply_code} {reason.reply_text}"
        case StreamLostError():
            return "the connection was lost"
        case ssl.SSLError():
            return tls_words(reason) or type(reason).__name__
        case OSError():
            return reason.strerror or type(reason).__name__
        case _:
            return type(reason).__name__


def _innermost(error: BaseException) -> BaseException:
    """pika wraps: AMQPConnectionError(AMQPConnectionWorkflowFailed([AMQPConnectorException(the reason)]))."""
    if isinstance(error, AMQPConnectionWorkflowFailed):
        inner = error.exceptions[-1]
    elif type(error) is AMQPConnectionError or isinstance(error, AMQPConnectorException):
        inner = getattr(error, "exception", next(iter(error.args), None))
    else:
        return error
    return _innermost(inner) if isinstance(inner, BaseException) else error
