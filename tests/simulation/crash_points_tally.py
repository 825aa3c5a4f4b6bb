"""What came of the deaths of a run: counted, carried from process to process, and printed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN = 20  # failures of a behaviour
Path = tuple[str, ...]  # the deaths of one run, in order: "payment submit:received #1"


@dataclass
class Tally:
    """What came of a recording and of all runs that forked from it."""

    behaviour: str
    points: int = 0  # passed, in the recording and, where a second death was tried, during the recoveries
    kills: Counter[int] = field(default_factory=Counter)  # runs by their number of deaths
    died: int = 0  # deaths that really happened, as counted by the houses
    endings: Counter[str] = field(default_factory=Counter)
    names: set[str] = field(default_factory=set)  # the points died at, without their number
    failures: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.points += other.points
        self.died += other.died
        self.kills.update(other.kills)
        self.endings.update(other.endings)
        self.names |= other.names
        self.failures += other.failures

    def to_json(self) -> str:
        return json.dumps(vars(self) | {"names": sorted(self.names)})

    @classmethod
    def from_json(cls, text: str) -> Tally:
        found = json.loads(text)
        return cls(
            found["behaviour"],
            found["points"],
            Counter({int(deaths): count for deaths, count in found["kills"].items()}),
            found["died"],
            Counter(found["endings"]),
            set(found["names"]),
            [(tuple(path), words) for path, words in found["failures"]],
        )


def report(tallies: Iterable[Tally], behaviours: int, deaths: int, what: str = "deaths") -> int:
    """Print what came of it; 1 when anything failed, or when one did not happen. `what` was done at the points."""
    total = Tally("all")
    for tally in tallies:
        total.add(tally)
        print(_line(tally, what), flush=True)
        for path, words in tally.failures[:SHOWN]:
            print(f"    {', then '.join(path) or 'no point'}: {words}", flush=True)
    tried = sum(count for died, count in total.kills.items() if died)
    whole = total.kills[deaths] > 0 and total.died == tried
    print(f"{len(total.names)} points by name x {behaviours} behaviours: {_line(total, what)}")
    return 0 if whole and not total.failures else 1


def _line(tally: Tally, what: str) -> str:
    kills = ", ".join(f"{count} runs with {died} {what}" for died, count in sorted(tally.kills.items()) if died)
    endings = ", ".join(f"{count} {ending}" for ending, count in tally.endings.most_common())
    return (
        f"{tally.behaviour}: {tally.points} points passed, {kills}, {tally.died} of them happened, "
        f"{len(tally.failures)} failed; ended {endings}"
    )
