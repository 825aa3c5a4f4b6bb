"""`python -m tests.chaos`: the real stack under fire. The last line of stdout is the verdict; exit 1 when it is not ok.

make chaos                        all parts, 30 minutes, 5,000 orders
make chaos PART=network MINUTES=3
make soak HOURS=8                 rounds of fire and quiet, an audit every minute
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.chaos.parts import SHARES
from tests.chaos.plan import Plan
from tests.chaos.run import Run, line_of
from tests.services.providers import provide_postgres, provide_rabbitmq

ORDERS_PER_MINUTE: Final = 168
LONG_HOLD_S, SHORT_HOLD_S = 120.0, 90.0
LONG_RUN_MINUTES: Final = 10.0
ROUND_MINUTES, QUIET_MINUTES = 30.0, 30.0
AUDIT_EVERY_S: Final = 60.0
AT_LEAST: Final = 0.5


def plan_of(arguments: list[str]) -> tuple[Plan, bool]:
    """The plan, and whether to keep the folder. Exits 2 for what it does not understand."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="The real stack under fire.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--orders", type=int)
    parser.add_argument("--part", choices=tuple(SHARES), help="only this part")
    parser.add_argument("--hours", type=float, help="a soak: rounds of fire and quiet, an audit every minute")
    parser.add_argument(
        "--canary", action="store_true", help="one hold is paid twice, one order withheld: must not be ok"
    )
    parser.add_argument("--keep", action="store_true", help="keep logs and journal of a run that is ok, too")
    given = parser.parse_args(arguments)
    parts = tuple(SHARES) if given.part is None else (given.part,)
    if given.hours is None:
        count = given.orders or round(given.minutes * ORDERS_PER_MINUTE)
        hold_s = LONG_HOLD_S if given.minutes >= LONG_RUN_MINUTES else SHORT_HOLD_S
        return Plan(given.seed, count, given.minutes, parts, hold_s, given.canary, AT_LEAST), given.keep
    rounds = max(1, round(given.hours * 60 / (ROUND_MINUTES + QUIET_MINUTES)))
    burning = given.hours * 60 / rounds - QUIET_MINUTES if rounds > 1 else given.hours * 60
    plan = Plan(
        seed=given.seed,
        orders=given.orders or round(given.hours * 60 * ORDERS_PER_MINUTE),
        minutes=burning,
        parts=parts,
        hold_s=LONG_HOLD_S,
        canary=given.canary,
        at_least=AT_LEAST,
        rounds=rounds,
        quiet_s=QUIET_MINUTES * 60,
        audit_every_s=AUDIT_EVERY_S,
    )
    return plan, given.keep


def main(arguments: list[str]) -> int:
    plan, keep = plan_of(arguments)
    folder = Path(tempfile.mkdtemp(prefix="daifu-chaos-"))
    node = provide_rabbitmq(lambda text: print(text, file=sys.stderr), ours=True)
    postgres = provide_postgres(ours=True)
    run = Run(plan, folder, node, postgres)
    ok = False
    try:
        verdict = run.play()
        ok = verdict.ok
        line = line_of(run, verdict)
    finally:
        run.close()
        node.close()
        postgres.close()
        if ok and not keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"logs, diary and journal: {folder}", file=sys.stderr)
    print(line)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
