"""The login captcha when nobody is there to solve it."""

from __future__ import annotations

from pipeline.errors import LoginRefused
from pipeline.reasons import Reason


class NoSolver:
    """The default `CaptchaSolver`: an account that 12306 wants a captcha from needs a person first."""

    async def solve(self, image: bytes) -> str:
        raise LoginRefused(Reason.CAPTCHA_REQUIRED.value, f"a captcha of {len(image)} bytes, and no solver")
