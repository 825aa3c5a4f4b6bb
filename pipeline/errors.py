"""What can go wrong outside, in our own terms. Foreign errors are translated into these at the edge, by a table.

    UpstreamError                 12306, the cashier or an agent did not do what was asked
    ├── Unreachable               no connection, 5xx, maintenance page: counts towards the circuit breaker
    ├── Busy                      the upstream itself says: try again later
    ├── Garbled                   an answer nobody can read; it proves nothing
    ├── SessionLost               someone else logged in with this account: log in again
    ├── LoginRefused(reason)      wrong_password | account_locked | captcha_required
    └── Declined(reason)          a step before the submit was refused by name; no money moved

A login that fails after the password went out, without a word of 12306 on it, carries the note PASSWORD_WENT_OUT: it may
count as a wrong one over there (the fourth locks the account), so it is neither forgotten nor made again at once.

A business "no" that belongs to the normal course is a value (see `ports.SubmitAnswer`), never an exception.
"""

from __future__ import annotations

from typing import Literal

Upstream = Literal["railway", "cashier", "agent"]


PASSWORD_WENT_OUT = "the password may have reached 12306"  # noqa: S105 - a note on an error


class DaifuError(Exception):
    """Base of everything daifu raises by itself."""


class UsageProblem(DaifuError):
    """The caller must put something right first; the text says what. Commands end with exit code 2."""


class UpstreamError(DaifuError):
    """An upstream did not answer usefully. `detail` is safe to store: it never holds a password or a cookie."""

    def __init__(self, upstream: Upstream, detail: str) -> None:
        super().__init__(f"{upstream}: {detail}")
        self.upstream: Upstream = upstream
        self.detail = detail


class Unreachable(UpstreamError):
    """No connection, a 5xx, or a maintenance page."""


class Busy(UpstreamError):
    """The upstream said it is busy; asking again later is right."""


class Garbled(UpstreamError):
    """The answer could not be read as what was asked for."""


class SessionLost(UpstreamError):
    """The login is no longer valid: the account was logged in elsewhere (wire-protocols B.1)."""


class LoginRefused(UpstreamError):
    """12306 refused the login by name. `reason` is a reason code of `reasons.py`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__("railway", detail)
        self.reason = reason


class Declined(UpstreamError):
    """A step before the submit was refused by an exact, listed text. `reason` is a reason code."""

    def __init__(self, upstream: Upstream, reason: str, detail: str) -> None:
        super().__init__(upstream, detail)
        self.reason = reason


def password_went_out(error: BaseException) -> bool:
    """Whether a failed or cancelled login may count as a wrong password at 12306."""
    return PASSWORD_WENT_OUT in getattr(error, "__notes__", ())
