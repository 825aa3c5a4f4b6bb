"""12306 over HTTP: login and probe. The chain of calls is wire-protocols B.1; what a login can do is `http_account`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from yarl import URL

from pipeline.errors import PASSWORD_WENT_OUT, Busy, Garbled, LoginRefused, SessionLost, Unreachable
from pipeline.ports import CaptchaSolver, Clock, RailwaySession
from pipeline.railway.captcha import NoSolver
from pipeline.railway.envelope import Envelope, read_envelope, text_of
from pipeline.railway.http_account import HttpAccount
from pipeline.railway.http_session import LOGIN_PAGE, Answer, Exchange, Pairs, SessionFactory, ending, new_session
from pipeline.railway.wire_texts import failure, login_failure
from pipeline.reasons import Reason

CAPTCHA_TRIES: Final = 3  # B.1: robots ask for a fresh image when an answer was wrong; no password is sent meanwhile
_JPEG: Final = b"\xff\xd8"


class HttpRailway:
    """The `Railway` port over HTTP. One login, one session, one cookie jar.

    base_url     12306's root, without a path of its own: `https://kyfw.12306.cn`
    cashier_url  the cashier's root; a payment form that points elsewhere is refused
    timeout_s    seconds, the overall end of each call of the port
    """

    def __init__(
        self,
        base_url: str,
        *,
        cashier_url: str,
        timeout_s: float,
        clock: Clock,
        solver: CaptchaSolver | None = None,
        session_factory: SessionFactory = new_session,
    ) -> None:
        self._base = URL(base_url)
        self._cashier = URL(cashier_url)
        self._timeout_s = timeout_s
        self._clock = clock
        self._solver = solver or NoSolver()
        self._session_factory = session_factory

    async def login(self, login: str, password: str) -> RailwaySession:
        """Raises LoginRefused, Unreachable, Busy, Garbled. The password goes into one request body and nowhere else.

        What ends the login between that request and 12306's word on the password, cancellation too, is noted as such.
        """
        exchange = Exchange("railway", self._session_factory())
        signed_in = False
        password_out = _PasswordOut()
        try:
            skew_s = await ending("railway", self._timeout_s, self._sign_in(exchange, login, password, password_out))
            signed_in = True
        except SessionLost as lost:
            failure_of_login = Busy("railway", f"the login was ended at once: {lost.detail}")
        except (Unreachable, Garbled, asyncio.CancelledError) as error:
            if password_out.unanswered:
                error.add_note(PASSWORD_WENT_OUT)
            raise
        finally:
            if not signed_in:
                await exchange.close()
        if not signed_in:
            raise failure_of_login
        return HttpAccount(exchange, self._base, self._cashier, timeout_s=self._timeout_s, skew_s=skew_s)

    async def probe(self) -> None:
        """Read the login page. Raises Unreachable for anything but that page."""
        exchange = Exchange("railway", self._session_factory())
        try:
            await ending("railway", self._timeout_s, exchange.get(self._url(LOGIN_PAGE)))
        except (Garbled, SessionLost) as error:
            unreadable = error.detail
        except Busy:
            return  # it answers
        else:
            return
        finally:
            await exchange.close()
        raise Unreachable("railway", unreadable)

    async def _sign_in(self, exchange: Exchange, login: str, password: str, password_out: _PasswordOut) -> float:
        """B.1, steps 1 to 5. Returns 12306's clock minus ours, in seconds."""
        await exchange.get(self._url(LOGIN_PAGE))
        conf = await self._call(exchange, "/otn/login/conf", [("loginUserDTO.user_name", login), ("_json_att", "")])
        rand_code = await self._captcha(exchange) if _wants_captcha(conf) else ""
        password_out.unanswered = True
        answer = await exchange.post(
            self._url("/otn/login/loginAysnSuggest"),
            [
                ("loginUserDTO.user_name", login),
                ("userDTO.password", password),
                ("randCode", rand_code),
                ("randCode_validate", ""),
                ("myversion", "undefined"),
            ],
            referer=self._url(LOGIN_PAGE),
            script=True,
        )
        received_at = self._clock.now()
        envelope = read_envelope(answer.body)
        if (envelope.data or {}).get("loginCheck") != "Y":
            # A text that repeats what was typed must not carry it on.
            raise login_failure(envelope.text.replace(password, "***") if password else envelope.text)
        password_out.unanswered = False
        await exchange.post(self._url("/otn/login/userLogin"), [("_json_att", "")], referer=self._url(LOGIN_PAGE))
        return (_server_time(answer) - received_at).total_seconds()

    async def _captcha(self, exchange: Exchange) -> str:
        """An answer that 12306 has accepted. Raises LoginRefused("captcha_required")."""
        image_url = self._url("/otn/passcodeNew/getPassCodeNew").with_query(module="login", rand="sjrand")
        for _ in range(CAPTCHA_TRIES):
            image = (await exchange.get(image_url, referer=self._url(LOGIN_PAGE))).body
            if not image.startswith(_JPEG):
                raise failure(read_envelope(image).text)
            rand_code = await self._solver.solve(image)
            fields = [("randCode", rand_code), ("rand", "sjrand"), ("_json_att", "")]
            envelope = await self._call(exchange, "/otn/passcodeNew/checkRandCodeAnsyn", fields)
            data = envelope.data or {}
            if data.get("result") == "1" and data.get("msg") == "randCodeRight":
                return rand_code
        raise LoginRefused(Reason.CAPTCHA_REQUIRED.value, f"{CAPTCHA_TRIES} captcha answers were wrong")

    async def _call(self, exchange: Exchange, path: str, fields: Pairs) -> Envelope:
        answer = await exchange.post(self._url(path), fields, referer=self._url(LOGIN_PAGE), script=True)
        envelope = read_envelope(answer.body)
        if not envelope.status or envelope.data is None:
            raise failure(envelope.text)
        return envelope

    def _url(self, path: str) -> URL:
        return self._base.with_path(path)


@dataclass(slots=True)
class _PasswordOut:
    """Whether the password is on its way, and 12306 has not yet said what it thinks of it."""

    unanswered: bool = False


def _wants_captcha(conf: Envelope) -> bool:
    wanted = text_of(conf.data or {}, "is_login_passCode")
    if wanted not in ("Y", "N"):
        raise Garbled("railway", "is_login_passCode is neither Y nor N")
    return wanted == "Y"


def _server_time(answer: Answer) -> datetime:
    """12306's clock. Without it deadlines can't be trusted, so an answer without a Date is no good login."""
    try:
        moment = parsedate_to_datetime(answer.date or "")
    except (ValueError, OverflowError):
        raise Garbled("railway", "a login answer without a readable Date header") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
