"""Looks at the processes while they run: whether one that lives looks dead, and whether memory and file descriptors stay flat."""

from __future__ import annotations

import http.client
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.chaos.stack import ARGUMENTS, Stack

EVERY_S: Final = 5.0
ANSWER_S: Final = 5.0
SETTLED_S: Final = 15.0  # after a thaw or a start, before it is asked
DEAD_AFTER: Final = 3  # in a row, as a kubelet counts
LONG_LIFE_S: Final = 600.0  # shorter lives say nothing about growth
WARM_S: Final = 240.0
MOST_GROWTH_MB: Final = 24.0
MOST_GROWTH: Final = 0.15
MOST_MORE_FDS: Final = 32
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: seconds since the process was first seen, resident MB, open file descriptors."""

    age_s: float
    rss_mb: float
    fds: int


class Watch(threading.Thread):
    """Runs beside the fire. `troubles` says what it saw, `lives` holds the samples by (name, pid)."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(name="watch", daemon=True)
        self.lives: dict[tuple[str, int], list[Sample]] = defaultdict(list)
        self.dead_looking: list[str] = []
        self._stack = stack
        self._first_seen: dict[int, float] = {}
        self._left_alone_until: dict[str, float] = {}
        self._misses: dict[tuple[str, int], int] = defaultdict(int)
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            for name in ARGUMENTS:
                self._look(name)

    def _look(self, name: str) -> None:
        process, now = self._stack.process(name), time.monotonic()
        born = self._first_seen.setdefault(process.pid, now)
        sample = _sample(process.pid, now - born)
        if sample is None:
            return
        self.lives[name, process.pid].append(sample)
        if name in self._stack.frozen:
            self._left_alone_until[name] = now + SETTLED_S
        rested = now > max(born + SETTLED_S, self._left_alone_until.get(name, 0.0))
        said = process.ready() if rested and process.running else None
        if said is None:
            return
        address, life = str(said["health"]), (name, process.pid)
        wrong = _wrong_with(address)
        fine = not wrong or name in self._stack.frozen or not process.running
        self._misses[life] = 0 if fine else self._misses[life] + 1
        if self._misses[life] == DEAD_AFTER:
            times = f"{DEAD_AFTER} times in a row, {now - born:.0f} s after its start"
            self.dead_looking.append(f"{name} ({process.pid}) lived, and /livez did not say so {times}: {wrong}")

    def growth(self) -> list[str]:
        """Processes whose memory or descriptors grew over a long life: nothing may."""
        return list(growing(self.lives))

    def table(self) -> str:
        """Per process: lives, the highest memory and descriptors, and of its longest life first and last memory."""
        lines = []
        for name in ARGUMENTS:
            lives = [samples for (of, _pid), samples in self.lives.items() if of == name and samples]
            if not lives:
                continue
            longest = max(lives, key=lambda samples: samples[-1].age_s)
            most = max(sample.rss_mb for samples in lives for sample in samples)
            fds = max(sample.fds for samples in lives for sample in samples)
            lines.append(
                f"  {name:13s} {len(lives):4d} lives, at most {most:5.0f} MB and {fds:4d} fds; the longest "
                f"{longest[-1].age_s:6.0f} s: {longest[0].rss_mb:5.0f} → {longest[-1].rss_mb:5.0f} MB"
            )
        return "\n".join(lines)


def growing(lives: Mapping[tuple[str, int], Sequence[Sample]]) -> Iterator[str]:
    """Of lives by (name, pid): those that grew between the first and the last third of their warm time."""
    for (name, _pid), samples in lives.items():
        warm = [sample for sample in samples if sample.age_s > WARM_S]
        if not warm or samples[-1].age_s < LONG_LIFE_S:
            continue
        third = max(1, len(warm) // 3)
        early, late = warm[:third], warm[-third:]
        before, after = _median(early), _median(late)
        if after - before > max(MOST_GROWTH_MB, MOST_GROWTH * before):
            yield f"{name} grew from {before:.0f} to {after:.0f} MB in {samples[-1].age_s:.0f} s"
        more = max(sample.fds for sample in late) - max(sample.fds for sample in early)
        if more > MOST_MORE_FDS:
            yield f"{name} opened {more} more file descriptors in {samples[-1].age_s:.0f} s"


def _median(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.rss_mb for sample in samples)


def _sample(pid: int, age_s: float) -> Sample | None:
    """None: it is gone."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20
        return Sample(age_s, resident, len(os.listdir(f"/proc/{pid}/fd")))
    except (OSError, IndexError):
        return None


def _wrong_with(address: str) -> str:
    """What /livez says instead of yes; nothing when it says yes."""
    parts = urlsplit(f"http://{address}")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        return "" if answer.status == 200 else f"{answer.status} {answer.read(200).decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__} {error}"
    finally:
        connection.close()
