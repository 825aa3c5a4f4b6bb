"""What a guard said, as people read it: no codes, times to the second, amounts in yuan."""

from __future__ import annotations

import re
from datetime import datetime

from pipeline.matching import SHANGHAI

_CODE = re.compile(r"^[a-z0-9_]+: ")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:[+-]\d\d:\d\d|Z)")
_FEN = re.compile(r"(-?\d+) 分(?!钟)")


def plain(text: str | None) -> str:
    """`hold_expired: 占座支付期限 2014-11-17T20:31:00.000+08:00 已过` -> `占座支付期限 2014-11-17 20:31:00 已过`."""
    text = _CODE.sub("", text or "")
    text = _TIME.sub(lambda found: f"{datetime.fromisoformat(found[0]).astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S}", text)
    return _FEN.sub(lambda found: f"{int(found[1]) / 100:,.2f} 元", text)
