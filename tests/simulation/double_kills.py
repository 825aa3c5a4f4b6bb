"""A second death during the recovery from the first: every pair of points, every behaviour (`make test-deep`).

    python -m tests.simulation.double_kills [BEHAVIOUR…]

Takes about COST on two cores. What counts as one point, and why, is said in `crash_points.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.simulation.crash_points import explore_all, silence_logs
from tests.simulation.crash_points_tally import report
from tests.simulation.test_behaviours import BEHAVIOURS

DEATHS = 2


def main(arguments: Sequence[str]) -> int:
    silence_logs()
    wanted = list(arguments) or list(BEHAVIOURS)
    return report(explore_all(wanted, DEATHS), len(wanted), DEATHS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
