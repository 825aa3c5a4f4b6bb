"""Which deaths a run of real kills plans, from the points that were passed."""

from __future__ import annotations

from collections import Counter

from tests.chaos.kills import deaths_at_start, deaths_of

PASSED = {"relay": Counter({"Eraser.tx:commit": 1, "Outgoings.tx:commit": 2}), "payment": Counter({"form:sent": 2})}


def test_what_a_process_does_once_about_its_start_is_died_at_then_and_not_with_an_order() -> None:
    """A look that had come just after the process was ready was waited for in vain by the next one."""
    at_start = deaths_at_start("ok", {"relay": Counter({"Eraser.tx:before": 1})}, [PASSED])
    assert [(death.point, death.at_start) for death in at_start] == [
        ("Eraser.tx:before", True),
        ("Eraser.tx:commit", True),
    ]
    with_an_order = [(death.point, death.nth) for death in deaths_of("ok", PASSED)]
    assert with_an_order == [("Outgoings.tx:commit", 1), ("Outgoings.tx:commit", 2), ("form:sent", 1), ("form:sent", 2)]
