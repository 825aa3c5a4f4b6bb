"""Alipay bills as they are downloaded, made of lines that a test wants. Accounts and numbers are invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.console.rendering import yuan
from pipeline.matching import SHANGHAI

ACCOUNT = "20880000000000010156"
DASHES = "-" * 40


@dataclass(frozen=True)
class Moved:
    """One line: money out (`fen` above 0) or in (below)."""

    trade_no: str
    fen: int
    at: datetime
    serial: str
    alipay_no: str = ""
    business: str = ""
    goods: str = "火车票"

    @property
    def kind(self) -> str:
        return self.business or ("在线支付" if self.fen > 0 else "交易退款")


def account_bill(lines: Sequence[Moved], begins: datetime, ends: datetime) -> str:
    """账务明细, as the merchant's page gives it."""
    paid, got = [one.fen for one in lines if one.fen > 0], [-one.fen for one in lines if one.fen < 0]
    rows = [
        f"{one.serial}\t,{one.alipay_no or one.serial}\t,{one.trade_no}\t,{one.goods}\t,{at(one.at)},铁路 (rail@example.com)\t,"
        f"{money(max(-one.fen, 0))},{money(-max(one.fen, 0))},100000.00,支付宝,{one.kind},"
        for one in lines
    ]
    return "\n".join(
        [
            "#支付宝账务明细查询",
            f"#账号：[{ACCOUNT}]",
            f"#起始日期：[{chinese(begins)}]   终止日期：[{chinese(ends)}]",
            f"#{DASHES}账务明细列表{DASHES}",
            "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,业务类型,备注",
            *rows,
            f"#{DASHES}账务明细列表结束{DASHES}",
            f"#支出合计：{len(paid)}笔，共{yuan(-sum(paid))}元",
            f"#收入合计：{len(got)}笔，共{yuan(sum(got))}元",
            f"#导出时间：[{chinese(ends)}]",
            "",
        ]
    )


def trades_bill(lines: Sequence[Moved], begins: datetime, ends: datetime) -> str:
    """交易记录明细, as the payer's page gives it: cells padded, a comma at the end."""
    paid = [one.fen for one in lines if one.fen > 0]
    rows = [
        f"{one.serial:<24},{one.trade_no:<24},{at(one.at)} ,{at(one.at)} ,{at(one.at)} ,其他（包括阿里巴巴和外部商家）,即时到账交易,"
        f"铁路 ,{one.goods:<20},{money(abs(one.fen)):<10},{'支出' if one.fen > 0 else ''},"
        f"{'交易成功' if one.fen > 0 else '退款成功'}    ,0.00 ,0.00 ,  ,{'已支出' if one.fen > 0 else '已收入'}    ,"
        for one in lines
    ]
    return "\r\n".join(
        [
            "支付宝交易记录明细查询",
            "账号:[rail-payer@example.com]",
            f"起始日期:[{at(begins)}]    终止日期:[{at(ends)}]",
            f"{DASHES}交易记录明细列表{DASHES}",
            "交易号                  ,商家订单号               ,交易创建时间              ,付款时间                ,最近修改时间              ,"
            "交易来源地     ,类型              ,交易对方            ,商品名称                ,金额（元）   ,收/支     ,交易状态    ,"
            "服务费（元）   ,成功退款（元）  ,备注                  ,资金状态     ,",
            *rows,
            DASHES,
            f"共{len(lines)}笔记录",
            f"已收入:{len(lines) - len(paid)}笔,{money(-sum(one.fen for one in lines if one.fen < 0))}元",
            f"已支出:{len(paid)}笔,{money(sum(paid))}元",
            f"导出时间:[{at(ends)}]    用户:某某",
            "",
        ]
    )


def at(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def chinese(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).strftime("%Y年%m月%d日 %H:%M:%S")


def money(fen: int) -> str:
    return yuan(fen).replace(",", "")


def day_of(moment: datetime) -> tuple[datetime, datetime]:
    """The day in Shanghai that a moment is in: its first moment and the next day's."""
    begins = moment.astimezone(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)
    return begins, begins + timedelta(days=1)
