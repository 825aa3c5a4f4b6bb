"""The second person: confirms a proposed closing as it stands, or sends it back."""

from __future__ import annotations

from pipeline.operations_abnormal import Closed, close_abnormal
from pipeline.operations_errors import Refused, person, words_of
from pipeline.operations_proposals import Proposal, find_task, proposal_of
from pipeline.store import history, orders, tasks
from pipeline.store.engine import Transaction


def confirm_closing(
    tx: Transaction, order_no: str, seen: tuple[str, int], words: str, actor: str, *, four_eyes_fen: int
) -> Closed:
    """Do what another person proposed. `seen`: (how, debited_fen) as this person saw it; `words`: what was checked.

    Raises NotFound, Refused.
    """
    words = words_of(words, "evidence")
    orders.lock(tx, order_no)
    proposal = _proposal(tx, order_no)
    if (proposal.how.value, proposal.debited_fen) != seen:
        raise Refused("changed", "提议的内容刚被修改, 请重新查看")
    if proposal.by == person(actor):
        raise Refused("second_person", "不能复核自己提交的结案, 需要另一个人")
    evidence = f"{proposal.evidence}; 复核: {words}"
    return close_abnormal(
        tx, order_no, proposal.how, proposal.debited_fen, evidence, actor, four_eyes_fen=four_eyes_fen
    )


def deny_closing(tx: Transaction, order_no: str, words: str, actor: str, *, may_deny: bool = True) -> None:
    """The proposal is gone, the task stays open. Who may not deny others' may still take back the own.

    Raises Refused.
    """
    words = words_of(words, "reason")
    orders.lock(tx, order_no)
    proposal = _proposal(tx, order_no)
    if proposal.by != person(actor) and not may_deny:
        raise Refused("pending", "只有主管或提交人可以退回")
    tasks.drop_proposal(tx, find_task(tx, order_no).id)
    facts = {"how": proposal.how, "debited_fen": proposal.debited_fen, "proposed_by": proposal.by, "reason": words}
    history.tell(tx, order_no, "closing_denied", actor, **facts)
    history.audit(tx, actor, "abnormal.deny", order_no, **facts)


def _proposal(tx: Transaction, order_no: str) -> Proposal:
    proposal = proposal_of(find_task(tx, order_no))
    if proposal is None:
        raise Refused("nothing_proposed", "没有待复核的结案")
    return proposal
