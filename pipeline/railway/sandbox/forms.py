"""The HTML and XML of epay and of the cashier, and the 17 fields of the cashier's form (wire-protocols B.3)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from datetime import datetime
from html import escape

from pipeline.ports import Trade, TradeState
from pipeline.railway.sandbox.holds import CashierTrade, Hold
from pipeline.railway.sandbox.pages import compact, moment, signature
from pipeline.railway.sandbox.till import yuan

ALIPAY = "33000010"  # bankId, wire-protocols B.3
FAILED_PAGE = "<html><body>交易失败</body></html>"
GARBAGE = b"\x1f\x8b\x00<\xff\xfe\xfa\xf0 div"  # neither UTF-8 nor a page
_TRADE_STATUS = {
    TradeState.WAITING: "WAIT_BUYER_PAY",
    TradeState.PAID: "TRADE_SUCCESS",
    TradeState.REFUNDED: "TRADE_SUCCESS",
    TradeState.CLOSED: "TRADE_CLOSED",
}


def trade_no_of(tran_data: str, mer_sign_msg: str) -> str | None:
    """The orderId inside tranData, None unless it carries the mark it was handed out with."""
    if mer_sign_msg != signature(tran_data):
        return None
    xml = base64.b64decode("".join(tran_data.split())).decode()
    found = re.search(r"<orderId>([0-9A-Z]+)</orderId>", xml)
    return found.group(1) if found is not None else None


def gateway_page(fields: dict[str, str], trade: CashierTrade, client_ip: str, base: str) -> str:
    """payGateway's answer: repeat what came, with the channel, the caller's address and the deadline."""
    inputs = {
        "tranData": fields.get("tranData", ""),
        "transType": fields.get("transType", ""),
        "channelId": "1",
        "appId": fields.get("appId", ""),
        "merSignMsg": fields.get("merSignMsg", ""),
        "merCustomIp": client_ip,
        "orderTimeoutDate": compact(trade.deadline),
    }
    return _form_page(f"{base}/pay/webBusiness", inputs.items())


def cashier_page(fields: Iterable[tuple[str, str]], base: str) -> str:
    """webBusiness's answer: the form whose sending is the submit."""
    return _form_page(f"{base}/cashier/gateway.do", fields)


def _form_page(action: str, fields: Iterable[tuple[str, str]]) -> str:
    inputs = "\n".join(f'<input type="hidden" name="{escape(n)}" value="{escape(v)}"/>' for n, v in fields)
    return f'<html><body><form action="{escape(action)}" method="post">\n{inputs}\n</form></body></html>'


def cashier_fields(
    trade: CashierTrade, hold: Hold, now: datetime, client_ip: str, base: str
) -> tuple[tuple[str, str], ...]:
    """The 17 hidden fields, in the order of wire-protocols B.3 row 6."""
    fields = {
        "ord_time_ext": moment(now),
        "ord_name": "火车票",
        "ord_desc": f"{hold.train_no} {hold.from_station}-{hold.to_station}",
        "notify_url": f"{base}/pay/notify",
        "sign": signature(f"{trade.trade_no}{trade.amount_fen}{compact(trade.deadline)}"),
        "ord_amt": yuan(trade.amount_fen),
        "service": "create_direct_pay_by_user",
        "partner": "2088000000000000",
        "dispatch_cluster_target": "sandbox",
        "ord_cur": "CNY",
        "ord_pmt_timeout": compact(trade.deadline),
        "req_access_type": "internet",
        "_input_charset": "utf-8",
        "ord_id_ext": trade.trade_no,
        "sign_type": "MD5",
        "return_url": f"{base}/otn/payfinish/init",
        "req_client_ip_ext": client_ip,
    }
    return tuple(fields.items())


def result_page(code: str, text: str) -> str:
    """What the cashier says to a form: SUCCESS, FAIL or PROCESSING."""
    return f'<html><body><div id="result" data-code="{code}">{escape(text)}</div></body></html>'


def trade_xml(trade_no: str, trade: Trade, amount_fen: int) -> str:
    """single_trade_query. `amount_fen` is the form's while nothing was paid."""
    if trade.state is TradeState.NONE:
        return "<alipay><is_success>F</is_success><error>TRADE_NOT_EXIST</error></alipay>"
    paid = trade.state in {TradeState.PAID, TradeState.REFUNDED}
    refunded = trade.amount_fen if trade.state is TradeState.REFUNDED else 0
    return (
        "<alipay><is_success>T</is_success><response><trade>"
        f"<out_trade_no>{escape(trade_no)}</out_trade_no><trade_status>{_TRADE_STATUS[trade.state]}</trade_status>"
        f"<total_fee>{yuan(trade.amount_fen if paid else amount_fen)}</total_fee>"
        f"<refund_fee>{yuan(refunded)}</refund_fee></trade></response></alipay>"
    )
