"""Which work rows may be taken now: due, not paused, and held by nobody who lives (DESIGN section 4)."""

from __future__ import annotations

from sqlalchemy import and_, exists, or_, select

from pipeline.store.tables import meta, pauses, purchases, work, workers
from pipeline.store.types import db_now
from pipeline.store.work_keys import PAYING_PAUSED, Step

# Not by each row's owner: the relay looks at all leased rows ten times a second, and the living are few.
_owner_alive = work.c.lease_owner.in_(
    select(workers.c.id).where(workers.c.alive_until >= db_now(), workers.c.closed_at.is_(None))
)
OWNER_DIED = exists(
    select(workers.c.id).where(
        workers.c.id == work.c.lease_owner, workers.c.alive_until < db_now(), workers.c.closed_at.is_(None)
    )
)
FREE = or_(work.c.lease_owner.is_(None), work.c.lease_end < db_now(), ~_owner_alive)

_purchase_of_row = and_(purchases.c.order_no == work.c.order_no, purchases.c.generation == work.c.generation)
# Pause never stops questions; an agent's or account's holds back what has no intent.
_STAGE_PAUSED = exists(select(pauses.c.name).where(pauses.c.scope == "stage", pauses.c.name == work.c.stage))
_PARTY_PAUSED = or_(
    exists(
        select(pauses.c.name).where(pauses.c.scope == "agent", pauses.c.name == purchases.c.agent, _purchase_of_row)
    ),
    exists(
        select(pauses.c.name).where(pauses.c.scope == "account", pauses.c.name == purchases.c.login, _purchase_of_row)
    ),
)
# Nothing is paused nearly always: that is asked once for a statement, the rest for each of its rows.
_PAUSED = and_(
    exists(select(pauses.c.name)),
    or_(
        and_(work.c.step != Step.ASK, _STAGE_PAUSED),
        and_(work.c.step.in_((Step.CREDENTIALS, Step.PAY)), _PARTY_PAUSED),
    ),
)
PAYING_IS_PAUSED = exists(select(meta.c.name).where(meta.c.name == PAYING_PAUSED))  # a restore is being recovered from
_RECOVERING = and_(work.c.step == Step.PAY, PAYING_IS_PAUSED)
DUE = and_(work.c.due_at <= db_now(), ~_RECOVERING, ~_PAUSED)
CLAIMABLE = and_(DUE, FREE)
