"""A list as a file, however long: CSV as it is read from the database, XLSX by way of a temporary file. Memory stays flat.

A workbook takes a core for as long as it is written, and pages and the agents' door are served by the same process: one is
written at a time, and no longer than somebody waits for it.
"""

from __future__ import annotations

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import xlsxwriter
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline.spreadsheet import cell

BOM: Final = "\ufeff"  # without it Excel in China takes a CSV for GBK
XLSX_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLSX_ROWS: Final = 1_000_000  # a sheet holds 1,048,576; what is longer goes on on the next one
CHUNK_BYTES: Final = 65_536
Rows = Iterable[Sequence[Mapping[str, Any]]]  # part after part, as the database gives them


@dataclass(frozen=True, slots=True)
class Column:
    """`value` of a row: text, or where `money` fen, which become yuan and are summed up in the last line."""

    title: str
    value: Callable[[Mapping[str, Any]], Any]
    money: bool = False
    width: int = 14


def csv_file(name: str, columns: Sequence[Column], rows: Rows) -> StreamingResponse:
    """UTF-8 with BOM; texts that could be formulas are defused; the last line holds the sums."""
    return StreamingResponse(
        csv_bytes(columns, rows), media_type="text/csv; charset=utf-8", headers=_named(f"{name}.csv")
    )


def xlsx_file(name: str, columns: Sequence[Column], rows: Rows, turn: asyncio.Semaphore) -> StreamingResponse:
    """Amounts are numbers, everything else is text and never a formula; the last line holds the sums. `turn`: of writing it."""
    parts = in_turn(turn, xlsx_bytes(columns, rows))
    return _Closing(parts, media_type=XLSX_TYPE, headers=_named(f"{name}.xlsx"))


class _Closing(StreamingResponse):
    """Ends what makes its parts when it ends, also where the browser went before: the next one need not wait for that."""

    def __init__(self, parts: AsyncGenerator[bytes, None], *, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(parts, media_type=media_type, headers=headers)
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._parts):
            await super().__call__(scope, receive, send)


async def in_turn(turn: asyncio.Semaphore, parts: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    """The parts; until the first that is not empty it is this file's turn. They end with it."""
    with closing(parts):
        work = iterate_in_threadpool(parts)
        first = b""
        async with turn:
            async for first in work:
                if first:
                    break
                yield first
        yield first
        async for part in work:
            yield part


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}


def _yuan(fen: int) -> str:
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def csv_bytes(columns: Sequence[Column], rows: Rows) -> Iterator[bytes]:
    """The file, a part for each part of the rows."""
    sums = dict.fromkeys((column.title for column in columns if column.money), 0)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write(BOM)
    writer.writerow([column.title for column in columns])
    for part in rows:
        for row in part:
            cells = []
            for column in columns:
                value = column.value(row)
                if column.money:
                    sums[column.title] += value
                cells.append(_yuan(value) if column.money else cell(str(value)))
            writer.writerow(cells)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    writer.writerow(["合计" if place == 0 else _sum_of(column, sums) for place, column in enumerate(columns)])
    yield buffer.getvalue().encode()


def _sum_of(column: Column, sums: Mapping[str, int]) -> str:
    return _yuan(sums[column.title]) if column.money else ""


def xlsx_bytes(columns: Sequence[Column], rows: Rows) -> Generator[bytes, None, None]:
    """The file, once all of it is written: a workbook is a zip, whose directory comes last. Until then an empty part for each
    part of the rows: whoever sends it learns whether the browser is still there."""
    # `constant_memory` keeps one row in memory; a row is written out, to `tmpdir`, when the next one begins.
    with tempfile.TemporaryFile() as file, tempfile.TemporaryDirectory() as folder:
        options = {"constant_memory": True, "tmpdir": folder, "strings_to_formulas": False, "strings_to_urls": False}
        book = xlsxwriter.Workbook(file, options)
        try:
            yield from _write(book, columns, rows)
        except GeneratorExit:  # nobody waits for it any more: to close the book would take as long as its rows did
            for sheet in book.worksheets():
                sheet.row_data_fh.close()
            raise
        book.close()
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _write(book: xlsxwriter.Workbook, columns: Sequence[Column], rows: Rows) -> Iterator[bytes]:
    money, bold = book.add_format({"num_format": "#,##0.00"}), book.add_format({"bold": True})
    sums = dict.fromkeys((column.title for column in columns if column.money), 0)
    sheet, line = None, XLSX_ROWS
    for part in rows:
        for row in part:
            if sheet is None or line == XLSX_ROWS:
                sheet, line = _sheet(book, columns, bold), 0
            line += 1
            for place, column in enumerate(columns):
                value = column.value(row)
                if column.money:
                    sums[column.title] += value
                    sheet.write_number(line, place, value / 100, money)
                else:
                    sheet.write_string(line, place, str(value))
        yield b""
    if sheet is None:
        sheet, line = _sheet(book, columns, bold), 0
    for place, column in enumerate(columns):
        if column.money:
            sheet.write_number(line + 1, place, sums[column.title] / 100, money)
        elif place == 0:
            sheet.write_string(line + 1, place, "合计", bold)


def _sheet(book: xlsxwriter.Workbook, columns: Sequence[Column], bold: Any) -> Any:
    sheet = book.add_worksheet()
    sheet.freeze_panes(1, 1)
    for place, column in enumerate(columns):
        sheet.set_column(place, place, column.width)
        sheet.write_string(0, place, column.title, bold)
    return sheet
