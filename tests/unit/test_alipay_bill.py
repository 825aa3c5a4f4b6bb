"""Alipay's bills: both layouts, both encodings, and a clear word about the line where one can't be read."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alipay_bill import BadBill, Layout, LineKind, read_bill
from pipeline.matching import SHANGHAI
from tests.unit.bill_world import Moved, account_bill, day_of, trades_bill

PAID_AT = datetime(2014, 11, 17, 21, 2, tzinfo=SHANGHAI)
BEGINS, ENDS = day_of(PAID_AT)
LINES = (
    Moved("T100001", 124_100, PAID_AT, "54632446537371", "2014111700001000"),
    Moved("T100002", 99, PAID_AT, "54629090595411", "2014111700002000", goods="火车票 (T7, 硬卧)".replace(",", "，")),
    Moved("T100001", -41_300, PAID_AT, "54628332402591", "2014111700001000"),
    Moved("", -5_000_000, PAID_AT, "54628332402599", business="充值"),
)
GOOD = account_bill(LINES, BEGINS, ENDS)


@pytest.mark.parametrize("encoding", ["gbk", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("layout", [Layout.ACCOUNT, Layout.TRADES])
def test_both_layouts_in_each_encoding(layout: Layout, encoding: str) -> None:
    make, lines = (account_bill, LINES) if layout is Layout.ACCOUNT else (trades_bill, LINES[:3])
    bill = read_bill(make(lines, BEGINS, ENDS).encode(encoding))
    assert (bill.layout, bill.begins_at, bill.ends_at) == (layout, BEGINS, ENDS)
    assert [(line.trade_no, line.kind, line.amount_fen, line.at) for line in bill.lines[:3]] == [
        ("T100001", LineKind.PAY, 124_100, PAID_AT),
        ("T100002", LineKind.PAY, 99, PAID_AT),
        ("T100001", LineKind.REFUND, 41_300, PAID_AT),
    ]
    assert [line.line_no for line in bill.lines] == list(range(6, 6 + len(lines)))


def test_money_that_comes_in_for_no_trade_is_neither_a_payment_nor_a_refund() -> None:
    bill = read_bill(GOOD.encode("gbk"))
    assert [line.kind for line in bill.lines] == [LineKind.PAY, LineKind.PAY, LineKind.REFUND, LineKind.OTHER]
    assert (bill.sum_fen(LineKind.PAY), bill.sum_fen(LineKind.REFUND)) == (124_199, 41_300)


def test_a_trade_that_moved_no_money_is_no_payment() -> None:
    closed = (
        trades_bill(LINES[:1], BEGINS, ENDS).replace("交易成功", "交易关闭").replace(",已支出    ,", ",          ,")
    )
    bill = read_bill(closed.replace("已支出:1笔,1241.00", "已支出:0笔,0.00").encode("gbk"))
    assert [(line.kind, line.amount_fen) for line in bill.lines] == [(LineKind.OTHER, 0)]


def test_a_last_second_is_the_next_midnight_and_blank_lines_do_not_matter() -> None:
    bill = read_bill(GOOD.replace("2014年11月18日 00:00:00]\n#---", "2014年11月17日 23:59:59]\n\n\n#---").encode("gbk"))
    assert bill.ends_at == ENDS
    assert bill.lines[0].line_no == 8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("-1241.00,100000.00", "-12x41.00,100000.00"), "第 6 行: “支出金额”不是金额"),
        (("2014-11-17 21:02:00,铁路", "2014-11-31 21:02:00,铁路"), "第 6 行: “发生时间”不是时间"),
        (("54632446537371\t", "5.46324E+13\t"), "第 6 行: “账务流水号”被 Excel 改成了科学计数法"),
        (("54632446537371\t", "\t"), "第 6 行: “账务流水号”是空的"),
        (("54629090595411\t", "54632446537371\t"), "第 7 行: 流水号与第 6 行相同"),
        (("0.00,-1241.00", "1.00,-1241.00"), "第 6 行: 既有收入又有支出"),
        ((",支付宝,在线支付,", ""), "第 6 行: 只有 9 格, 列名有 12 个"),
        (("火车票\t", '"火车票\t'), "行: 引号没有成对"),
        (("支出合计：2笔", "支出合计：3笔"), "账单末尾写着支出合计 3 笔 -1,241.99 元, 读到 2 笔 1241.99 元: 文件不完整"),
        (("账务流水号,", "流水,"), "没有找到列名所在的行"),
        (("起始日期：[2014", "起始：[2014"), "列名之前没有“账号”或“起始日期"),
        (("起始日期：[2014年11月17日", "起始日期：[2014年11月19日"), "起始日期不早于终止日期"),
        (("火车票", "火车\0票"), "第 6 行: 含有空字符"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(change: tuple[str, str], says: str) -> None:
    content = GOOD.replace(*change).encode("gbk")
    with pytest.raises(BadBill, match=re.escape(says)):
        read_bill(content)


def test_a_cut_off_file_is_refused_whether_or_not_its_end_is_there() -> None:
    rows = GOOD.split("\n")
    with pytest.raises(BadBill, match="文件不完整"):
        read_bill("\n".join(rows[:6] + rows[7:]).encode("gbk"))
    with pytest.raises(BadBill, match="只有 4 格"):
        read_bill("\n".join(rows[:7]).encode("gbk") + b"\n1,2,3,4")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xff\xfe\x81", "你好\n".encode("gbk"), b"\x00" * 10])
def test_what_is_no_bill_at_all_is_refused(content: bytes) -> None:
    with pytest.raises(BadBill):
        read_bill(content)


@given(st.binary(max_size=400))
def test_no_bytes_make_it_fail_otherwise(content: bytes) -> None:
    with pytest.raises(BadBill):
        read_bill(content)


@given(
    st.sampled_from([GOOD, trades_bill(LINES[:3], BEGINS, ENDS)]),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 30), st.text(max_size=12)), max_size=4),
    st.sampled_from(["gbk", "utf-8"]),
)
def test_a_bill_that_was_spoilt_is_refused_or_read_in_whole(
    good: str, cuts: list[tuple[int, int, str]], encoding: str
) -> None:
    for place, length, put in cuts:
        good = good[:place] + put + good[place + length :]
    try:
        bill = read_bill(good.encode(encoding, "replace"))
    except BadBill:
        return
    assert all(line.amount_fen >= 0 and line.serial and line.at.tzinfo is not None for line in bill.lines)
    assert len({line.serial for line in bill.lines}) == len(bill.lines)


@given(st.lists(st.tuples(st.integers(-(10**8), 10**8).filter(bool), st.integers(0, 86_399)), max_size=30))
def test_what_is_written_is_what_is_read(moves: list[tuple[int, int]]) -> None:
    made = [
        Moved(f"T{place}", fen, BEGINS.replace(hour=second // 3600, minute=second // 60 % 60), f"{place:014d}")
        for place, (fen, second) in enumerate(moves)
    ]
    for make in (account_bill, trades_bill):
        read = read_bill(make(made, BEGINS, ENDS).encode("gbk")).lines
        signed = [line.amount_fen if line.kind is LineKind.PAY else -line.amount_fen for line in read]
        assert signed == [one.fen for one in made]
        assert [(line.at, line.trade_no) for line in read] == [(one.at, one.trade_no) for one in made]


@pytest.mark.parametrize("opened", ["起始日期:[", "账号:[", "起始日期:[] 终止日期:[", "支出合计:1笔,共1,"])
def test_brackets_that_are_opened_by_the_thousand_do_not_hold_up_the_process(opened: str) -> None:
    """A search that looks to the end from each of them would take many minutes, with the interpreter in its hands."""
    line = f'"{opened * 9_000}"\n'
    with pytest.raises(BadBill):
        read_bill((line * 4).encode())
