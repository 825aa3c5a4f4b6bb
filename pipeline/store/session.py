"""What a PostgreSQL session asks of the server and of TCP, so that a worker that is gone does not hold up those that are there.

A transaction of ours is over in milliseconds. A machine that loses its power, or a network that forgets a connection, says no
good-bye: without these limits its open transaction would keep its rows locked until TCP notices, by default after two hours,
and every worker and the relay would wait for them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

CONNECT_TIMEOUT_S: Final = 5
#: A transaction in which nobody has said anything for so long is rolled back by the server, and its session ended.
IDLE_IN_TRANSACTION_S: Final = 30.0
#: Seconds of silence before the first probe, between probes, and how many go unanswered: both ends notice within half a minute.
KEEPALIVE_IDLE_S: Final = 15
KEEPALIVE_EVERY_S: Final = 5
KEEPALIVES: Final = 3
#: How long what was sent may stay unacknowledged.
UNACKNOWLEDGED_MS: Final = (KEEPALIVE_IDLE_S + KEEPALIVE_EVERY_S * KEEPALIVES) * 1000

#: How dear a plan thinks a page is that is read in the table's order, and one that an index names. Everything the
#: stages ask for is found by an index; but PostgreSQL keeps the plan of a prepared statement until the table is next
#: analyzed, and over a table that was small at that moment reading it whole looks cheaper. Then 20,000 orders come within the minute.
#: Whoever reads whole tables (the relay's audit, reports, exports) must not have these costs. JIT is decided by costs, too.
BY_INDEX: Final[Mapping[str, object]] = {"seq_page_cost": 10.0, "random_page_cost": 1.1, "jit": "off"}

#: Prepared when first executed, not at the sixth time: a stage says the same statements for as long as it runs, and among several
#: connections the first five times of each are many.
AT_ONCE: Final = 0

#: A connection that has rested for longer is asked whether it still stands before it is used.
RESTED_S: Final = 1.0


def connect_args(
    given_options: str = "", *, by_index: bool = False, idle_in_transaction_s: float = IDLE_IN_TRANSACTION_S
) -> dict[str, Any]:
    """psycopg's arguments for every connection. `given_options` are those of the URL; they come last, so they win. `by_index`: of a
    stage (see `BY_INDEX`)."""
    asked: dict[str, object] = {
        "idle_in_transaction_session_timeout": int(idle_in_transaction_s * 1000),
        "tcp_keepalives_idle": KEEPALIVE_IDLE_S,
        "tcp_keepalives_interval": KEEPALIVE_EVERY_S,
        "tcp_keepalives_count": KEEPALIVES,
        "tcp_user_timeout": UNACKNOWLEDGED_MS,
        **(BY_INDEX if by_index else {}),
    }
    options = " ".join(f"-c {name}={value}" for name, value in asked.items())
    return {
        **({"prepare_threshold": AT_ONCE} if by_index else {}),
        "client_encoding": "utf8",  # whatever URL, environment or database say: arrays of texts are written in it
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives": 1,
        "keepalives_idle": KEEPALIVE_IDLE_S,
        "keepalives_interval": KEEPALIVE_EVERY_S,
        "keepalives_count": KEEPALIVES,
        "tcp_user_timeout": UNACKNOWLEDGED_MS,
        "options": f"{options} {given_options}".strip(),
    }


def ping_rested(engine: Engine) -> None:
    """Ping a pooled connection that has rested, and replace it when it is gone.

    SQLAlchemy's `pool_pre_ping` asks at every checkout, a round trip in each transaction; one that was used a moment ago is
    asked nothing: should it have broken since, its transaction fails as one whose connection breaks in the middle.
    """

    @event.listens_for(engine, "checkin")
    def _rests(_connection: Any, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.get("rests_since")
        if since is None or time.monotonic() - since < RESTED_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError("it broke while it rested") from error
