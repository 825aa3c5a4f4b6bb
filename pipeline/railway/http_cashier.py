"""The cashier over HTTP: an open line for the one submit, and the read-only trade query."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from xml.etree.ElementTree import Element

from yarl import URL

from pipeline.errors import Busy, Garbled, Unreachable, UpstreamError
from pipeline.ports import CashierLine, Clock, Trade, TradeState
from pipeline.railway.envelope import fen_of_yuan
from pipeline.railway.http_errors import clip
from pipeline.railway.http_session import Exchange, SessionFactory, ending, new_session
from pipeline.railway.safe_xml import child_text, read_xml
from pipeline.railway.submit_line import SubmitLine

NO_TRADE: Final = "0"  # no trade has this number: the cashier's good answer to the probe is "not known"
_NOT_KNOWN: Final = "TRADE_NOT_EXIST"

_STATES: Final = {
    "WAIT_BUYER_PAY": TradeState.WAITING,
    "TRADE_SUCCESS": TradeState.PAID,
    "TRADE_FINISHED": TradeState.PAID,
    "TRADE_CLOSED": TradeState.CLOSED,
}


class HttpCashier:
    """The `Cashier` port over HTTP/1.1.

    base_url   the cashier's root; forms go to its `gateway.do`
    timeout_s  seconds, the overall end of `open`, of a submit, and of each question
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        clock: Clock,
        session_factory: SessionFactory = new_session,
    ) -> None:
        self._gateway = URL(base_url) / "gateway.do"
        self._timeout_s = timeout_s
        self._clock = clock
        self._session_factory = session_factory
        self._tls = _tls_context() if self._gateway.scheme == "https" else None

    async def open(self) -> CashierLine:
        """Connect and shake hands; nothing of HTTP is sent. Raises Unreachable."""
        host = self._gateway.host or ""
        connecting = asyncio.open_connection(
            host,
            self._gateway.port,
            ssl=self._tls,
            server_hostname=host if self._tls is not None else None,
        )
        try:
            reader, writer = await ending("cashier", self._timeout_s, connecting)
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that can't be one
            failure = Unreachable("cashier", f"no connection ({type(error).__name__})")
        else:
            return SubmitLine(reader, writer, self._gateway, timeout_s=self._timeout_s, clock=self._clock)
        raise failure

    async def trade(self, trade_no: str) -> Trade:
        """single_trade_query. Raises UpstreamError; an answer about another trade is Garbled."""
        fields = [("service", "single_trade_query"), ("_input_charset", "utf-8"), ("out_trade_no", trade_no)]
        exchange = Exchange("cashier", self._session_factory())
        try:
            answer = await ending("cashier", self._timeout_s, exchange.post(self._gateway, fields))
        finally:
            await exchange.close()
        try:
            return _read_trade(read_xml(answer.body), trade_no)
        except ValueError as error:
            raise Garbled("cashier", clip(str(error))) from None

    async def probe(self) -> None:
        """Ask for a trade that nobody has. Raises Unreachable unless the cashier gives a readable answer."""
        try:
            await self.trade(NO_TRADE)
        except Busy:
            return  # it answers
        except UpstreamError as error:
            unreadable = error.detail
        else:
            return
        raise Unreachable("cashier", unreadable)


def _read_trade(root: Element, trade_no: str) -> Trade:
    """Raises ValueError for everything but a clear answer about this trade."""
    success = child_text(root, "is_success") if root.tag == "alipay" else ""
    if success == "F":
        error = child_text(root, "error")
        if error == _NOT_KNOWN:
            return Trade(TradeState.NONE, 0)
        raise ValueError(f"the query was refused: {error}")
    if success != "T":
        raise ValueError("XML that is no answer to a trade query")
    found = root.findall("response/trade")
    if len(found) != 1:
        raise ValueError(f"an answer with {len(found)} trades")
    trade = found[0]
    if child_text(trade, "out_trade_no") != trade_no:
        raise ValueError("an answer about another trade")
    state = _STATES.get(child_text(trade, "trade_status"))
    if state is None:
        raise ValueError(f"an unknown trade status {child_text(trade, 'trade_status')}")
    amount_fen = fen_of_yuan(child_text(trade, "total_fee"))
    refunded_fen = fen_of_yuan(trade.findtext("refund_fee", "0").strip())
    if state is not TradeState.WAITING and refunded_fen > 0:
        state = TradeState.REFUNDED  # a closed trade with a refund was paid first, too
    moved = state in (TradeState.PAID, TradeState.REFUNDED)
    return Trade(state, amount_fen if moved else 0)


def _tls_context() -> ssl.SSLContext:
    """The system's certificates, the host name checked, HTTP/1.1 and nothing else."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
