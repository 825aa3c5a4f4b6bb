"""What operators do, in one place: the CLI acts through these functions and the console does too.

Each takes an open transaction and an `actor` (`human:NAME`), writes the audit log and, where an order is concerned, its
story. A guard that says no raises `Refused`, what is not there raises `NotFound`; both change nothing.
"""

from __future__ import annotations

from pipeline.operations_abnormal import Closed, close_abnormal
from pipeline.operations_abnormal_review import confirm_closing, deny_closing
from pipeline.operations_agents import NewAgent, add_agent, set_callback, set_password, top_up_fund, use_unified
from pipeline.operations_controls import Scope, pause, resume, unblock
from pipeline.operations_dead_letters import discard, note, restore
from pipeline.operations_errors import NotFound, Refused
from pipeline.operations_import import Rules, rules_of
from pipeline.operations_jobs import make_job, start_job, stop_job
from pipeline.operations_orders import Offer, fill_in, import_again, offer
from pipeline.operations_proposals import Fate
from pipeline.operations_reconciliation import Upload, compare_again, note_break, upload_bill
from pipeline.operations_recovery import Recovery, finish_recovery, recover, recovery
from pipeline.operations_replay import ReplayPlan, ReplayResult, find_letter, replay, would_replay
from pipeline.operations_resend import resend_callback, resend_events, untold
from pipeline.operations_tasks import close_task, hand_over_task, take_task

__all__ = [
    "Closed",
    "Fate",
    "NewAgent",
    "NotFound",
    "Offer",
    "Recovery",
    "Refused",
    "ReplayPlan",
    "ReplayResult",
    "Rules",
    "Scope",
    "Upload",
    "add_agent",
    "close_abnormal",
    "close_task",
    "compare_again",
    "confirm_closing",
    "deny_closing",
    "discard",
    "fill_in",
    "find_letter",
    "finish_recovery",
    "hand_over_task",
    "import_again",
    "make_job",
    "note",
    "note_break",
    "offer",
    "pause",
    "recover",
    "recovery",
    "replay",
    "resend_callback",
    "resend_events",
    "restore",
    "resume",
    "rules_of",
    "set_callback",
    "set_password",
    "start_job",
    "stop_job",
    "take_task",
    "top_up_fund",
    "unblock",
    "untold",
    "upload_bill",
    "use_unified",
    "would_replay",
]
