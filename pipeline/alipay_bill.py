"""An Alipay bill as it is downloaded (CSV in GBK or UTF-8), read line by line. Pure; amounts in 分, times aware.

Two layouts are known, each with comment lines above and totals below:

- 账务明细 (商家账单, `signcustomer`): `#支付宝账务明细查询`, `#账号：[…]`, `#起始日期：[2014年11月17日 00:00:00]   终止日期：[…]`, a line of
  dashes, the columns 账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,
  业务类型,备注, the lines (cells end with a tab), a line of dashes, `#支出合计：2笔，共-2482.00元`, `#收入合计：…`, `#导出时间：[…]`.
- 交易记录明细 (the payer's trades): `支付宝交易记录明细查询`, `账号:[…]`, `起始日期:[2014-11-17 00:00:00]    终止日期:[…]`, the columns 交易号,
  商家订单号,交易创建时间,付款时间,…,金额（元）,收/支,交易状态,…,资金状态 (padded with blanks), `共5笔记录`, `已支出:5笔,6205.00元`.

A bill that can't be read in whole is refused in whole: a line that is left out would be money that nobody compares.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.errors import DaifuError
from pipeline.matching import SHANGHAI

MOST_LINES: Final = 100_000
LONGEST_NUMBER: Final = 128
LONGEST_WORDS: Final = 200
EXAMPLE: Final = "支付宝“账务明细”或“交易记录明细”的 CSV 文件"

_AMOUNT = re.compile(r"([+-]?)(\d{1,9})(?:\.(\d{1,2}))?")
_SCIENTIFIC = re.compile(r"\d(\.\d+)?[Ee]\+\d+")
_MOMENT = re.compile(r"(20\d{2})[-/年](\d{1,2})[-/月](\d{1,2})日?\s+(\d{1,2}):(\d{2})(?::(\d{2}))?")
# What stands in the brackets has an end to it: a file that opens them by the thousand would be searched for hours.
_PERIOD = re.compile(r"起始日期[:：]\s{0,9}\[([^\]]{0,40})\]\s{0,99}终止日期[:：]\s{0,9}\[([^\]]{0,40})\]")
_ACCOUNT = re.compile(r"账号[:：]\s{0,9}\[([^\]]{1,200})\]")
_TOTAL = re.compile(
    r"(支出合计|收入合计|已支出|已收入)[:：]\s*(\d+)\s*笔[，,]\s*(?:共)?\s*([+-]?[\d,]+(?:\.\d+)?)\s*元"
)
_RECORDS = re.compile(r"共\s*(\d+)\s*笔记录")


class BadBill(DaifuError):
    """The file can't be read as a bill; the text says in plain Chinese what is wrong, and in which line."""

    def __init__(self, line_no: int | None, words: str) -> None:
        super().__init__(words if line_no is None else f"第 {line_no} 行: {words}")
        self.line_no = line_no


class Layout(StrEnum):
    ACCOUNT = "account"  # 账务明细
    TRADES = "trades"  # 交易记录明细


class LineKind(StrEnum):
    """`PAY`: money left the account. `REFUND`: it came back for a trade. `OTHER`: anything that came in, or moved nothing."""

    PAY = "pay"
    REFUND = "refund"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class BillLine:
    """`serial` is Alipay's own number of the line; `trade_no` the merchant's order number: what 12306's cashier called our trade."""

    line_no: int
    serial: str
    alipay_no: str
    trade_no: str
    at: datetime
    kind: LineKind
    amount_fen: int
    words: str


@dataclass(frozen=True, slots=True)
class Bill:
    """`begins_at` to before `ends_at`: the period that the file says it covers."""

    layout: Layout
    account: str
    begins_at: datetime
    ends_at: datetime
    lines: tuple[BillLine, ...]

    def sum_fen(self, kind: LineKind) -> int:
        return sum(line.amount_fen for line in self.lines if line.kind is kind)


class _Row(NamedTuple):
    """One line of the file under the names of its columns."""

    line_no: int
    cells: Mapping[str, str]

    def number(self, column: str, *, required: bool = False) -> str:
        text = self.cells.get(column, "")
        if _SCIENTIFIC.fullmatch(text):
            raise BadBill(self.line_no, f"“{column}”被 Excel 改成了科学计数法, 请上传支付宝下载的原文件")
        if len(text) > LONGEST_NUMBER or (required and not text):
            raise BadBill(self.line_no, f"“{column}”{'太长' if text else '是空的'}")
        return text

    def fen(self, column: str) -> int:
        """Without its sign: the column says which way the money went. An empty cell is 0."""
        text = self.cells.get(column, "").replace(",", "").lstrip("¥￥")
        found = _AMOUNT.fullmatch(text) if text else None
        if text and found is None:
            raise BadBill(self.line_no, f"“{column}”不是金额")
        return 0 if found is None else int(found[2]) * 100 + int((found[3] or "").ljust(2, "0"))

    def moment(self, *columns: str) -> datetime:
        """Of the first of these columns that is filled."""
        for column in columns:
            if self.cells.get(column):
                return _moment(self.cells[column], self.line_no, column)
        raise BadBill(self.line_no, f"“{columns[0]}”是空的")

    def words(self, *columns: str) -> str:
        return " ".join(filter(None, (self.cells.get(column, "") for column in columns)))[:LONGEST_WORDS]


def read_bill(content: bytes) -> Bill:
    """The whole bill. Raises BadBill."""
    rows = list(_rows(_text_of(content)))
    head = next((place for place, (_, cells) in enumerate(rows) if _layout_of(cells) is not None), None)
    if head is None:
        raise BadBill(None, f"没有找到列名所在的行 (账务流水号… 或 交易号…): 需要{EXAMPLE}")
    columns = [_plain(name) for name in rows[head][1]]
    layout = _layout_of(rows[head][1])
    assert layout is not None  # noqa: S101 - that is how `head` was found
    above = "\n".join(",".join(cells) for _, cells in rows[:head])
    account = _ACCOUNT.search(above)
    period = _PERIOD.search(above)
    if account is None or period is None:
        raise BadBill(None, "列名之前没有“账号”或“起始日期… 终止日期…”: 请上传支付宝下载的原文件")
    begins_at, ends_at = _moment(period[1], None, "起始日期"), _moment(period[2], None, "终止日期")
    if ends_at.second == 59:  # written as the last second
        ends_at += timedelta(seconds=1)
    if begins_at >= ends_at:
        raise BadBill(None, "起始日期不早于终止日期")
    lines = tuple(_lines(layout, columns, rows[head + 1 :]))
    _compare_totals(lines, "\n".join(",".join(cells) for _, cells in rows[head + 1 :]))
    return Bill(layout, account[1].strip()[:LONGEST_NUMBER], begins_at, ends_at, lines)


def _text_of(content: bytes) -> str:
    if content.startswith(b"PK"):
        raise BadBill(None, "这是压缩包或 Excel 文件: 请先解压, 上传其中的明细 CSV")
    for encoding in ("utf-8-sig", "gb18030"):  # the second includes GBK
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if any("\ud800" <= character <= "\udfff" for character in set(text)):
            break
        if "\0" in text:
            raise BadBill(text[: text.index("\0")].count("\n") + 1, "含有空字符, 这不是文本文件")
        return text
    raise BadBill(None, "编码既不是 UTF-8 也不是 GBK")


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Every line that is not empty, with its number. Cells lose the blanks and tabs around them."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error:
        raise BadBill(reader.line_num, "引号没有成对, 或一格太长") from None


def _plain(column: str) -> str:
    """A column's name, whatever brackets and blanks it was written with."""
    return re.sub(r"[(（].*", "", column).strip()


def _layout_of(cells: list[str]) -> Layout | None:
    columns = {_plain(name) for name in cells}
    if {"账务流水号", "商户订单号", "发生时间", "收入金额", "支出金额"} <= columns:
        return Layout.ACCOUNT
    if {"交易号", "商家订单号", "交易创建时间", "金额", "资金状态"} <= columns:
        return Layout.TRADES
    return None


def _lines(layout: Layout, columns: list[str], rows: list[tuple[int, list[str]]]) -> Iterator[BillLine]:
    read = _account_line if layout is Layout.ACCOUNT else _trade_line
    seen: dict[str, int] = {}
    for line_no, cells in rows:
        if _is_comment(cells):
            continue
        if len(cells) < len([column for column in columns if column]):
            raise BadBill(line_no, f"只有 {len(cells)} 格, 列名有 {len(columns)} 个")
        line = read(_Row(line_no, dict(zip(columns, cells, strict=False))))
        if line.serial in seen:
            raise BadBill(line_no, f"流水号与第 {seen[line.serial]} 行相同")
        seen[line.serial] = line_no
        if len(seen) > MOST_LINES:
            raise BadBill(line_no, f"超过 {MOST_LINES} 行: 请按较短的时段分开下载")
        yield line


def _is_comment(cells: list[str]) -> bool:
    """Lines of dashes, totals and the like around the list; a line of the list begins with a number of Alipay's."""
    first = cells[0]
    return first.startswith(("#", "---")) or bool(
        re.match(r"共\s*\d+\s*笔记录|(已|待)(收入|支出)[:：]|导出时间[:：]", first)
    )


def _account_line(row: _Row) -> BillLine:
    paid, got = row.fen("支出金额"), row.fen("收入金额")
    if paid and got:
        raise BadBill(row.line_no, "既有收入又有支出")
    kind = LineKind.PAY if paid else LineKind.OTHER
    if got and ("退款" in row.words("业务类型", "备注") or row.number("商户订单号")):
        kind = LineKind.REFUND
    return BillLine(
        row.line_no,
        row.number("账务流水号", required=True),
        row.number("业务流水号"),
        row.number("商户订单号"),
        row.moment("发生时间"),
        kind,
        paid or got,
        row.words("业务类型", "商品名称", "备注"),
    )


def _trade_line(row: _Row) -> BillLine:
    moved = row.cells.get("资金状态", "")
    fen = row.fen("金额") if moved in ("已支出", "已收入") else 0
    kind = LineKind.PAY if moved == "已支出" and fen else LineKind.OTHER
    if moved == "已收入" and fen and ("退款" in row.words("交易状态", "类型") or row.number("商家订单号")):
        kind = LineKind.REFUND
    serial = row.number("交易号", required=True)
    return BillLine(
        row.line_no,
        serial,
        serial.partition("_")[0],  # a refund's number is the trade's, with an ending
        row.number("商家订单号"),
        row.moment("付款时间", "最近修改时间", "交易创建时间"),
        kind,
        fen,
        row.words("类型", "商品名称", "交易状态", "备注"),
    )


def _compare_totals(lines: tuple[BillLine, ...], below: str) -> None:
    """What the bill itself counts below its list. Raises BadBill where that is not what was read."""
    said_records = _RECORDS.search(below)
    if said_records is not None and _whole(said_records[1]) != len(lines):
        raise BadBill(None, f"账单末尾写着共 {said_records[1][:20]} 笔, 读到 {len(lines)} 笔: 文件不完整")
    for word, said, amount in _TOTAL.findall(below):
        paid = word in ("支出合计", "已支出")
        read = [line for line in lines if line.amount_fen and (line.kind is LineKind.PAY) is paid]
        fen = sum(line.amount_fen for line in read)
        whole, _, rest = amount.replace(",", "").lstrip("+-").partition(".")
        if (_whole(said), _whole(whole or "0") * 100 + int(rest.ljust(2, "0")[:2])) != (len(read), fen):
            raise BadBill(
                None,
                f"账单末尾写着{word} {said[:20]} 笔 {amount[:20]} 元, 读到 {len(read)} 笔 {fen // 100}.{fen % 100:02d} 元: 文件不完整",
            )


def _whole(digits: str) -> int:
    """A count or an amount of yuan; -1 for one that no bill has, and that Python would take long to read, or refuse."""
    return int(digits) if len(digits) <= 18 else -1


def _moment(text: str, line_no: int | None, column: str) -> datetime:
    found = _MOMENT.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=SHANGHAI)
    except ValueError:
        raise BadBill(line_no, f"“{column}”不是时间, 应写作 2014-11-17 21:02:00") from None
