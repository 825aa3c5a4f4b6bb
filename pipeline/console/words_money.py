"""What codes of money are called on screen."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.ledger import ACCOUNT_WORDS

ACCOUNTS: Mapping[str, str] = {account.value: words for account, words in ACCOUNT_WORDS.items()}
POSTINGS: Mapping[str, str] = {
    "freeze": "冻结",
    "hold": "支付占用",
    "post": "支付入账",
    "void": "占用退回",
    "found_payment": "补记支付",
    "unfreeze": "解冻",
    "departure_unfreeze": "发车后解冻",
    "full_refund": "全额退款",
    "railway_refund": "12306退款",
    "top_up": "充值",
}
FUND_LEVELS: Mapping[str, str] = {"fine": "充足", "low": "偏低", "short": "不足"}
BREAKS: Mapping[str, str] = {"only_there": "只在账单上", "only_here": "只在这里", "differs": "金额不同"}
LINES: Mapping[str, str] = {
    "matched": "对上",
    "in_flight": "在途",
    "differs": "金额不同",
    "unmatched": "没有对上",
    "other": "与代付无关",
}
LINE_KINDS: Mapping[str, str] = {"pay": "支出", "refund": "退款", "other": "其他"}
LAYOUTS: Mapping[str, str] = {"account": "账务明细", "trades": "交易记录明细"}
