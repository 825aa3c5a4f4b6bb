"""What `daifu doctor` says of a check that can't be made."""

from __future__ import annotations

import pytest
from psycopg.errors import InsufficientPrivilege, UndefinedTable
from sqlalchemy.exc import ProgrammingError

from pipeline.cli.findings import checked
from pipeline.settings import Settings


@pytest.mark.parametrize(
    ("error", "level", "words"),
    [
        (InsufficientPrivilege("permission denied for table audit_runs"), "ok", "where operators type"),
        (UndefinedTable('relation "audit_runs" does not exist'), "wrong", "refuses a question"),
    ],
)
def test_a_table_that_is_not_this_processs_to_read_is_nothing_wrong(error: Exception, level: str, words: str) -> None:
    def check(_settings: Settings) -> list[object]:
        raise ProgrammingError("SELECT", {}, error)

    (row,) = checked("audit", check, Settings())  # type: ignore[arg-type] # it never returns
    assert (row["level"], words in row["detail"]) == (level, True)
