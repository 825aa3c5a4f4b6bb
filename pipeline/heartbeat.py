"""The heartbeat of a worker incarnation: leases are good while it beats, and it beats only while the loop ticks.

Its own thread and connection: a busy pool or a long transaction must not look like a death. A loop that hangs must.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping

import structlog

from pipeline.store import control
from pipeline.store.engine import Store, StoreUnavailable, Transaction

log = structlog.get_logger()

BEATS_PER_LEASE = 4
# Between looks at a loop that hangs: what it claims before the next beat, everybody else may take at once.
HANGING_S = 0.05


def new_worker_id(stage: str) -> str:
    """A new incarnation at every start."""
    return f"{stage}:{uuid.uuid4().hex[:12]}"


class Heartbeat:
    """Renews the worker's lease every quarter of it, as long as `ticked_ago()` is below half of it, and learns who else works."""

    def __init__(
        self,
        store: Store,
        worker: str,
        stage: str,
        lease_s: float,
        ticked_ago: Callable[[], float],
        learn: Callable[[Mapping[str, int]], None],
    ) -> None:
        """`learn` is told the workers of each stage, on the heartbeat's own thread."""
        self._store, self.worker, self._stage, self._lease_s = store, worker, stage, lease_s
        self._ticked_ago, self._learn = ticked_ago, learn
        # The last beat was due and written: an idle worker learns from it that the database is gone.
        self.healthy = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {worker}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop beating; the incarnation is closed by whoever ends the process."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        hung = False
        while not self._stop.wait(HANGING_S if hung else self._lease_s / BEATS_PER_LEASE):
            was, hung = hung, self._ticked_ago() > self._lease_s / 2
            if hung:
                self.healthy = False
                if not was:
                    log.error("loop_hangs_lease_not_renewed", worker=self.worker)
                continue
            try:
                self.beat()
            except StoreUnavailable as error:
                log.warning("heartbeat_missed", worker=self.worker, error=str(error))
                self.healthy = False
            except Exception:  # a thread that ended silently would look like a death
                log.exception("heartbeat_failed", worker=self.worker)
                self.healthy = False
            else:
                self.healthy = True

    def beat(self) -> None:
        """One renewal. Raises StoreUnavailable."""
        self._learn(self._store.write(self._renew).value)

    def _renew(self, tx: Transaction) -> dict[str, int]:
        control.beat(tx, self.worker, self._stage, self._lease_s)
        return control.crew(tx)
