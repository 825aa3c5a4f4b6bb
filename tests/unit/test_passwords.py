"""Which passwords people may set."""

from __future__ import annotations

import pytest
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from pipeline.operations_errors import Refused
from pipeline.passwords import CONTEXT, LONGEST, SHORTEST, check_new
from pipeline.secret import Secret


def is_taken(password: str, name: str = "carol") -> bool:
    try:
        check_new(name, Secret(password))
    except Refused:
        return False
    return True


def test_none_of_the_most_used_passwords_that_are_long_enough_is_taken() -> None:
    """The list holds the 30,000 found most often in leaks; few of them reach our length."""
    common = [text for text in FREQUENCY_LISTS["passwords"] if len(text) >= SHORTEST]
    assert len(FREQUENCY_LISTS["passwords"]) > 3_000
    assert len(common) > 100
    assert [text for text in common if is_taken(text)] == []


@pytest.mark.parametrize(
    "password",
    [
        "daifu12306daifu",
        "carolcarol12306",
        "Carol-12306-26",
        "qwertyuiop[]",
        "aaaaaaaaaaaa",
        "1234567890ab",
        "P@ssw0rd2026!",
    ],
)
def test_what_is_made_of_names_words_and_rows_of_keys_is_not_taken(password: str) -> None:
    assert not is_taken(password)


@pytest.mark.parametrize("word", CONTEXT)
def test_a_word_of_this_place_is_no_password(word: str) -> None:
    assert not is_taken((word * SHORTEST)[: max(SHORTEST, len(word))])


@pytest.mark.parametrize(
    "password",
    [
        "an invented pass phrase",
        "correct-horse-battery-staple",
        "vh4kq9zt2m",  # only lower-case letters and digits: no kind of character is asked for
        "雨后春笋海阔天空浮云朝露",
        " leading and trailing spaces count ",
        "vq8fz" * 12 + "tail",
    ],
)
def test_a_password_is_taken_whatever_it_is_made_of(password: str) -> None:
    assert is_taken(password)


def test_length_alone_has_two_ends() -> None:
    assert not is_taken("vh4kq9zt2")
    assert is_taken("vh4kq9zt2m " * 11)
    assert not is_taken("v" + "h4kq9zt2mx" * 13)
    assert LONGEST >= 64
