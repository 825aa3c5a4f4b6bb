"""Reconciliation: Alipay bills, their lines, and what does not agree with our postings. The person's side of a break is its task."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from pipeline.store.tables_common import RowId, metadata, where
from pipeline.store.types import Instant

bills = Table(
    "bills",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("digest", Text, nullable=False, unique=True),  # of the file: the same one is known again
    Column("name", Text, nullable=False),
    Column("layout", Text, nullable=False),  # account | trades
    Column("account", Text, nullable=False),
    Column("begins_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("paid_fen", BigInteger, nullable=False),
    Column("refund_fen", BigInteger, nullable=False),
    Column("uploaded_at", Instant, nullable=False),
    Column("uploaded_by", Text, nullable=False),
    Column("compared_at", Instant),  # when all of it was compared; NULL: its upload broke off, and begins again
)
Index("bills_in_time", bills.c.account, bills.c.ends_at)

bill_lines = Table(
    "bill_lines",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column(
        "uid", Text, nullable=False, unique=True
    ),  # account:layout:serial: in however many files it stands, it is one line
    Column("bill_id", BigInteger, nullable=False),
    Column("line_no", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("kind", Text, nullable=False),  # pay | refund | other
    Column("amount_fen", BigInteger, nullable=False),
    Column("alipay_no", Text, nullable=False),
    Column("trade_no", Text, nullable=False),
    Column("words", Text, nullable=False),
    Column("state", Text, nullable=False),  # matched | in_flight | differs | unmatched | other
    Column("order_no", Text),
    Column("attempt_id", Text),  # whose payment it is
    Column("refund_id", Text),  # of railway_refunds: which refund it is
)
Index("bill_lines_by_bill", bill_lines.c.bill_id, bill_lines.c.id)
Index("bill_lines_by_alipay", bill_lines.c.alipay_no)
Index("bill_lines_unsettled", bill_lines.c.id, **where("state IN ('in_flight','differs','unmatched')"))
# A payment, and a refund, stand on the bill once: a second line that claims it is a break.
Index("bill_lines_one_per_attempt", bill_lines.c.attempt_id, unique=True, **where("attempt_id IS NOT NULL"))
Index(
    "bill_lines_one_per_refund",
    bill_lines.c.order_no,
    bill_lines.c.refund_id,
    unique=True,
    **where("refund_id IS NOT NULL"),
)

bill_breaks = Table(
    "bill_breaks",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("uid", Text, nullable=False, unique=True),  # its task's
    Column("kind", Text, nullable=False),  # only_there | only_here | differs
    Column("line_id", BigInteger),
    Column("order_no", Text),
    Column("attempt_id", Text),
    Column("refund_id", Text),
    Column("here_fen", BigInteger),
    Column("there_fen", BigInteger),
    Column("moved_at", Instant, nullable=False),  # when the money moved, as whoever knows of it says
    Column("note", Text, nullable=False, server_default=text("''")),
)
