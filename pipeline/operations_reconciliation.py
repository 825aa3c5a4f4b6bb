"""对账: an Alipay bill compared line by line with what we posted. Whatever does not agree is a person's task, once.

A bill is stored in chunks, each a transaction of its own, so that a long one holds nobody up; one that broke off is gone on
with when the same file comes again. Every upload looks again at all that did not agree before: what agrees by now closes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pipeline.alipay_bill import BadBill, Bill, BillLine, LineKind, read_bill
from pipeline.bill_matching import BREAK_OF, BreakKind, LineState, Payment, Refund, Verdict, of_payment, of_refunds
from pipeline.ledger import Kind
from pipeline.operations_errors import NotFound, Refused, person, words_of
from pipeline.store import bills, history
from pipeline.store.bills import PAYMENT_SLACK, REFUND_SLACK, Break
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line

Write = Callable[[Callable[[Transaction], Any]], Any]  # runs it in one transaction, in the person's name
AT_ONCE: Final = 1000
LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Upload:
    """`known`: the same file was compared before. `new_lines`: what no earlier bill had."""

    bill_id: int
    known: bool
    lines: int
    new_lines: int
    new_breaks: int


def upload_bill(write: Write, name: str, content: bytes, actor: str) -> Upload:
    """Read, store and compare a bill. Raises Refused: it can't be read, or its account has the same days in the other layout."""
    try:
        bill = read_bill(content)
    except BadBill as error:
        raise Refused("bad_bill", f"账单没有读入。{error}") from None
    name = name.replace("\0", "").encode(errors="replace").decode()[:LONGEST_NAME] or "-"
    digest = hashlib.sha256(content).hexdigest()
    bill_id, known = write(lambda tx: _begin(tx, bill, name, digest, person(actor)))
    new_lines = 0
    for place in range(0, len(bill.lines), AT_ONCE):
        part = bill.lines[place : place + AT_ONCE]
        new_lines += write(partial(bills.add_lines, rows=[_row_of(bill, bill_id, line) for line in part]))
    new_breaks = compare_again(write, actor, f"账单 {name}")
    new_breaks += write(lambda tx: _missing(tx, bill))
    write(lambda tx: bills.compared(tx, bill_id))
    return Upload(bill_id, known, len(bill.lines), new_lines, new_breaks)


def compare_again(write: Write, actor: str, proof: str) -> int:
    """Look at every line that does not agree, or not yet. Payments first: a refund may name nothing but its payment's number.

    Returns how many breaks are new. `proof`: what is written beside tasks that close, because their line agrees by now.
    """
    opened = 0
    for kind in (LineKind.PAY, LineKind.REFUND):
        after = 0
        while True:
            last, new = write(partial(_round, kind=kind, after=after, actor=person(actor), proof=proof))
            opened += new
            if last is None:
                break
            after = last
    return opened


def note_break(tx: Transaction, break_id: int, words: str, actor: str) -> None:
    """What is known so far about a break that is open. Raises NotFound, Refused."""
    note = words_of(words, "note")
    uid = bills.write_note(tx, break_id, note)
    if uid is None:
        raise NotFound(f"没有待处理的对账差异 {break_id}")
    history.audit(tx, person(actor), "reconciliation.note", str(break_id), note=note)


def _begin(tx: Transaction, bill: Bill, name: str, digest: str, actor: str) -> tuple[int, bool]:
    bills.compare_alone(tx)
    if bills.has_other_layout(tx, bill.account, bill.layout.value, bill.begins_at, bill.ends_at):
        raise Refused(
            "other_layout", "这个账户的同一时段已上传过另一种格式的账单: 同一笔钱会出现两次, 请一直用同一种格式"
        )
    row = {
        "digest": digest,
        "name": name,
        "layout": bill.layout.value,
        "account": bill.account,
        "begins_at": bill.begins_at,
        "ends_at": bill.ends_at,
        "lines": len(bill.lines),
        "paid_fen": bill.sum_fen(LineKind.PAY),
        "refund_fen": bill.sum_fen(LineKind.REFUND),
        "uploaded_by": actor,
    }
    is_new = bills.add(tx, row)
    stored = bills.by_digest(tx, digest)
    assert stored is not None  # noqa: S101 - it is there, whoever stored it
    if is_new:
        history.audit(
            tx, actor, "reconciliation.upload", str(stored.id), name=row["name"], lines=row["lines"], digest=digest
        )
    return int(stored.id), stored.compared_at is not None


def _row_of(bill: Bill, bill_id: int, line: BillLine) -> dict[str, Any]:
    return {
        "uid": f"{bill.account}:{bill.layout.value}:{line.serial}",
        "bill_id": bill_id,
        "line_no": line.line_no,
        "at": line.at,
        "kind": line.kind.value,
        "amount_fen": line.amount_fen,
        "alipay_no": line.alipay_no,
        "trade_no": line.trade_no,
        "words": line.words,
        "state": (LineState.OTHER if line.kind is LineKind.OTHER else LineState.UNMATCHED).value,
    }


def _round(tx: Transaction, kind: LineKind, after: int, actor: str, proof: str) -> tuple[int | None, int]:
    """The next lines of this kind; the last one's id, None after the last round, and how many breaks are new."""
    bills.compare_alone(tx)
    lines = bills.unsettled(tx, kind.value, after, AT_ONCE)
    if not lines:
        return None, 0
    verdicts = _payments(tx, lines) if kind is LineKind.PAY else _refunds(tx, lines)
    bills.settle(
        tx,
        [
            (line.uid, v.state.value, v.order_no, v.attempt_id, v.refund_id)
            for line, v in zip(lines, verdicts, strict=True)
        ],
    )
    agreeing = [key for line, v in zip(lines, verdicts, strict=True) for key in _answered(line, v)]
    bills.close_agreeing(tx, agreeing, actor, proof)
    found = [_break_of(line, v) for line, v in zip(lines, verdicts, strict=True) if v.state in BREAK_OF]
    return int(lines[-1].id), len(_open(tx, found))


def _payments(tx: Transaction, lines: list[Row[Any]]) -> list[Verdict]:
    known = bills.payments_of(tx, [line.trade_no for line in lines])
    taken: set[str] = set()
    verdicts = []
    for line in lines:
        row = known.get(line.trade_no)
        payment = None
        if row is not None:
            other = row.id in taken or row.line_id not in (None, line.id)
            payment = Payment(
                row.id, row.order_no, row.amount_fen, row.posted_fen, row.resolved_as == Kind.VOID, taken=other
            )
        verdict = of_payment(line.amount_fen, payment)
        if verdict.attempt_id is not None:
            taken.add(verdict.attempt_id)
        verdicts.append(verdict)
    return verdicts


def _refunds(tx: Transaction, lines: list[Row[Any]]) -> list[Verdict]:
    by_trade = bills.payments_of(tx, [line.trade_no for line in lines])
    by_alipay = bills.orders_of_alipay(tx, [line.alipay_no for line in lines])
    of_order: dict[str | None, list[Row[Any]]] = defaultdict(list)
    for line in lines:
        paid = by_trade.get(line.trade_no)
        of_order[by_alipay.get(line.alipay_no) if paid is None else paid.order_no].append(line)
    free: dict[str, list[Refund]] = defaultdict(list)
    for row in bills.free_refunds(tx, [number for number in of_order if number], [line.uid for line in lines]):
        free[row.order_no].append(Refund(row.order_no, row.refund_id, row.amount_fen))
    found: dict[int, Verdict] = {}
    for order_no, its_lines in of_order.items():
        refunds = free[order_no] if order_no is not None else []
        verdicts = of_refunds([line.amount_fen for line in its_lines], order_no, refunds)
        found |= {line.id: verdict for line, verdict in zip(its_lines, verdicts, strict=True)}
    return [found[line.id] for line in lines]


def _missing(tx: Transaction, bill: Bill) -> int:
    """What was posted in the time that the bill covers and stands on no bill. How many breaks are new."""
    bills.compare_alone(tx)
    goes_on = bills.goes_on(tx, bill.account, bill.begins_at)
    since = bill.begins_at - (PAYMENT_SLACK if goes_on else PAYMENT_SLACK * 0)
    found = [
        Break(
            _payment_key(row.id),
            BreakKind.ONLY_HERE.value,
            "这里已入账的支付, 账单上没有",
            row.at,
            row.order_no,
            attempt_id=row.id,
            here_fen=row.amount_fen,
        )
        for row in bills.only_here(tx, since, bill.ends_at - PAYMENT_SLACK)
    ]
    since = bill.begins_at - (REFUND_SLACK if goes_on else REFUND_SLACK * 0)
    found += [
        Break(
            _refund_key(row.order_no, row.refund_id),
            BreakKind.ONLY_HERE.value,
            "12306通知过的退款, 账单上没有",
            row.at,
            row.order_no,
            refund_id=row.refund_id,
            here_fen=row.amount_fen,
        )
        for row in bills.refunds_only_here(tx, since, bill.ends_at - REFUND_SLACK)
    ]
    return len(_open(tx, found))


def _open(tx: Transaction, found: Sequence[Break]) -> set[str]:
    new = bills.open_breaks(tx, found)
    told = [
        Line(
            one.order_no,
            "reconciliation_break",
            "system:reconciliation",
            {"why": one.why, "here_fen": one.here_fen, "there_fen": one.there_fen},
        )
        for one in found
        if one.uid in new and one.order_no is not None
    ]
    history.tell_all(tx, told)
    return new


def _break_of(line: Row[Any], verdict: Verdict) -> Break:
    return Break(
        _line_key(line.uid),
        BREAK_OF[verdict.state].value,
        verdict.why,
        line.at,
        verdict.order_no,
        line.id,
        verdict.attempt_id,
        verdict.refund_id,
        verdict.here_fen,
        line.amount_fen,
    )


def _answered(line: Row[Any], verdict: Verdict) -> list[str]:
    """The breaks that this line's verdict leaves nothing of."""
    keys = [] if verdict.state in BREAK_OF else [_line_key(line.uid)]
    if verdict.attempt_id is not None:
        keys.append(_payment_key(verdict.attempt_id))
    if verdict.refund_id is not None and verdict.order_no is not None:
        keys.append(_refund_key(verdict.order_no, verdict.refund_id))
    return keys


def _line_key(uid: str) -> str:
    return f"break:line:{uid}"


def _payment_key(attempt_id: str) -> str:
    return f"break:payment:{attempt_id}"


def _refund_key(order_no: str, refund_id: str) -> str:
    return f"break:refund:{order_no}:{refund_id}"
