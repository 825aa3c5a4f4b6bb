"""How an order may end under fire: as its behaviour says, or as a fault may legitimately change it. A pure function.

Everything else is a finding. The faults of a run delay, kill and cut; none makes money move or takes it back.
"""

from __future__ import annotations

from typing import Final

from tests.integration.pipeline_endings import ENDINGS, Ending, abnormal, unpaid

#: Killed, cut off or held back until its time was over, before the intent: 12306 was never asked for money.
TOO_LATE: Final = (unpaid("request_expired"), unpaid("hold_expired"), unpaid("order_unknown"))
#: After the intent, before the first byte: the commit's answer was lost, or the worker died. Proven by what never arrived.
NEVER_LEFT: Final = (unpaid("not_sent"), unpaid("unpaid_after_deadline"))
#: The form was read in the middle of an outage of the cashier, which did nothing with it and answered nothing of use.
LEFT_INTO_AN_OUTAGE: Final = (unpaid("unpaid_after_deadline", 1),)
#: The form arrived after its own deadline, so the cashier refused it, whether or not anybody heard.
LEFT_TOO_LATE: Final = (unpaid("pay_refused", 1), unpaid("unpaid_after_deadline", 1))
#: The refusal by name was said and not heard: only the deadline can prove it then.
REFUSAL_UNHEARD: Final = (unpaid("unpaid_after_deadline", 1),)
#: The intent was recorded, and while the answers to questions could prove how it ended, none came: a person's task.
NO_ANSWERS: Final = (
    abnormal("outcome_unknown", 0),
    abnormal("outcome_unknown", 1),
    Ending("paid_abnormal", "outcome_unknown", "3", 0, 0),  # nor did anybody receive the form
)
#: 12306's answers to three logins came too late or not at all: the fourth might lock the account, so it is left to a person.
LOGINS_UNHEARD: Final = (unpaid("wrong_password"),)

NEVER_SUBMITTED: Final = frozenset(
    name for name, ending in ENDINGS.items() if ending.outcome == "held_unpaid" and not ending.pays
) - {"reset_before_read"}


def allowed(behaviour: str, form: str | None, *, unanswered: bool = False, unheard: bool = False) -> tuple[Ending, ...]:
    """All endings that are right for this behaviour. `form`: what the journal says became of our form (`late`,
    `outage`, `received`); None: none came. `unanswered`: no late question about it was answered by both sides. `unheard`: logins
    of its account went through at 12306 and were not used."""
    also: tuple[Ending, ...] = TOO_LATE
    if behaviour not in NEVER_SUBMITTED:
        also += NEVER_LEFT
        also += {"late": LEFT_TOO_LATE, "outage": LEFT_INTO_AN_OUTAGE}.get(form or "", ())
    if behaviour == "refuse":
        also += REFUSAL_UNHEARD
    if unanswered:
        also += NO_ANSWERS
    if unheard:
        also += LOGINS_UNHEARD
    return (ENDINGS[behaviour], *also)
