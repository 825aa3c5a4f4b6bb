"""The TTS interface's code tables."""

from __future__ import annotations

from typing import get_args

from schemas.codes import NO_TICKET_REASONS, SEAT_NAMES, NoTicketCode, seat_code, seat_name


def test_every_seat_code_has_a_name_and_comes_back_from_it() -> None:
    assert [seat_code(seat_name(code)) for code in SEAT_NAMES] == [str(code) for code in range(14)]


def test_a_seat_without_a_code_keeps_its_name() -> None:
    assert seat_name("动卧上") == "动卧上"
    assert seat_code("动卧上") is None


def test_both_ways_to_write_a_seat_are_one_seat() -> None:
    assert seat_name("二等软座") == "二等座"
    assert (seat_code("站票"), seat_code("一等软座")) == ("0", "3")


def test_every_no_ticket_reason_has_its_words() -> None:
    assert set(NO_TICKET_REASONS) == set(get_args(NoTicketCode))
    assert NO_TICKET_REASONS["6"] == "12306乘客身份信息核验失败"
