"""The agents' interface document in Chinese, made from the forms, codes and formulas that the door itself uses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlencode

from pydantic import BaseModel

from schemas import examples, tts
from schemas.codes import ID_TYPES, NO_TICKET_REASONS, SEAT_NAMES, TICKET_TYPES
from schemas.err_codes import ERR_WORDS, ErrCode
from schemas.orders import OrderPaid
from schemas.tts_orders import ORDER_FIELDS, order_object
from schemas.tts_signature import PAY_RESULT, PROCESS_GO_PAY, PROCESS_PURCHASE, QUERY_ORDERS, need_pay_fields, signature
from schemas.tts_tickets import PassengerReason, TtsTicket

FILE_NAME = "agents-interface.md"
PASSWORD_PARAMETER = "pw"  # noqa: S105 - the parameter's name, by default
FORMULAS: Mapping[str, tuple[str, ...]] = {
    "NEED_PAY": need_pay_fields(PASSWORD_PARAMETER),
    "CONFIRM": PROCESS_PURCHASE,
    "NO_TICKET": PROCESS_PURCHASE,
    "ProcessGoPay": PROCESS_GO_PAY,
    "QueryOrders": QUERY_ORDERS,
    "代付结果": PAY_RESULT,
}
_PASSWORD = (PASSWORD_PARAMETER, "否", "12306登录密码; 不传时使用后台“代付设置”中的密码")

_HEAD = """# 代理商接口: 出票结果、代付请求、订单查询

本文由 `daifu schemas export` 生成, 请勿手改。示例中的密钥、人员和号码均为虚构。

- 地址: `http(s)://<主机>/api/pub/<接口名>`, 接口名前的一个或两个斜杠等效。
- `QueryOrders.do` 用 GET (参数在地址中), 其余用 POST `application/x-www-form-urlencoded; charset=UTF-8`。
- 参数值可以百分号编码, 也可以直接写 UTF-8 原文 (此时值中不能含 `&` 和 `+`)。未知参数被忽略; 同名参数取值不一致则报 101。
- 应答总是 HTTP 200, UTF-8 JSON: `{"ret":true}` 或 `{"ret":false,"errCode":"…","errMsg":"…"}`。
  只有不成其为 HTTP 的内容、过长或过多的请求头例外: HTTP 400, 连接随即关闭。
- `ret` 为 true 表示已保存, 代付请求此后不会再被拒绝; 是否付成由“代付结果”通知。
- 没有收到应答、或收到 999、429 时, 用同样的内容重发即可: 同一请求不会重复支付。请求体不超过 1 MB。
- 每个代理商每秒的请求数有上限 (由我方设置; 有几个服务进程时, 各进程分别计数)。超过的请求答 429, 什么也没有保存: 请稍后重发。
- 代付有结果之后 2 分钟内 (由我方设置), 内容相同的代付请求仍视为重发: 应答 true, 不再支付。要重新请求, 请在此之后, 或更换占座、账号、密码。
"""
_SIGNING = """## 签名

`HMAC` = MD5(密钥 + 各字段原文依次相连), 大写十六进制 (核对时不分大小写)。没有分隔符; 字段用编码之前的原文, UTF-8;
没有传的字段按空字符串处理; JSON 和数字按所发送的文字签名, 不做任何整理。这不是 RFC 2104 的 HMAC。

更换密钥之后 24 小时内, 用新旧密钥签名的请求都接受, 之后只接受新密钥 (密钥泄露时旧密钥立即失效)。
"""
_CALLING = """## 代付结果 (我方通知代理商)

POST `application/x-www-form-urlencoded` 到代理商的回调地址, 参数 `orderNo` `payStatus` `HMAC`。
代理商应答 `{"ret":true}` (字符串 "true" 亦可) 即完成; 否则按时间表重发, 每次重发的 `webhook-id` 相同。出错时可答
`{"ret":false,"msg":"…"}`。同一请求另带 Standard Webhooks 的 `webhook-id`、`webhook-timestamp`、`webhook-signature` 头。
我方测试回调地址时, 用并不存在的订单号 `daifu-callback-test` 和 payStatus 0: 答 true 或 false 都说明地址可用。
同一订单可能先收到 3, 核实之后再收到 1 或 2: 以最后收到的为准。
更换密钥之后 24 小时内, 各次重发轮流用新旧密钥计算 `HMAC` (先新后旧), 内容与 `webhook-id` 不变: 验签不通过请答 `{"ret":false}`,
下一次即可通过。`webhook-signature` 同时带新旧两个签名, 以空格分隔, 任一通过即可。
"""


def render() -> str:
    """The document. Deterministic: it is committed, and a test compares."""
    return "\n".join(
        [
            _HEAD,
            _SIGNING,
            _table(("接口 / 操作", "密钥之后的字段"), ((name, " + ".join(names)) for name, names in FORMULAS.items())),
            f"`{PASSWORD_PARAMETER}` 的参数名以及它是否参加签名由我方设置; 以上为默认。\n",
            "### 签名示例\n",
            f"密钥 `{examples.KEY}`:\n",
            *(_example(name, fields) for name, fields in examples.FORMS.items()),
            "## 出票结果 ProcessPurchase.do\n",
            _operation("NEED_PAY: 请我方代付已占座的订单", tts.NeedPayForm, [_PASSWORD]),
            _operation("CONFIRM: 代理商已自行出票", tts.ConfirmForm),
            _operation("NO_TICKET: 无法出票, 全额退款给用户", tts.NoTicketForm),
            '### result\n\n`{"count":…, "tickets":[…]}`, 每张票:\n',
            _fields(TtsTicket),
            "### passengerReason\n\n数组, 每位乘车人:\n",
            _fields(PassengerReason),
            "## 代付请求 ProcessGoPay.do\n",
            "不指明占座订单: 支付该12306账号名下与订单相符的那一个未支付订单。密码须事先在后台设置。\n",
            _fields(tts.GoPayForm),
            "## 订单查询 QueryOrders.do\n",
            _fields(tts.QueryOrdersForm),
            '应答 `{"ret":true,"data":[…],"total":n}`, `data` 中每个订单:\n',
            _table(("字段", "说明"), ORDER_FIELDS.items()),
            "```json",
            json.dumps(order_object(_order()), ensure_ascii=False, indent=2),
            "```\n",
            _CALLING,
            _table(("payStatus", "含义"), tts.PAY_STATUSES.items()),
            "## errCode\n",
            _table(("errCode", "含义"), ((code.value, ERR_WORDS[code]) for code in ErrCode)),
            "008 可视为成功 (此前的请求已经完成); NO_TICKET 不会得到 008。\n",
            "## 代码表\n",
            "### 坐席\n",
            _table(("代码", "坐席"), SEAT_NAMES.items()),
            "### 票种\n",
            _table(("代码", "票种"), TICKET_TYPES.items()),
            "### 证件类型\n",
            _table(("代码", "证件"), ID_TYPES.items()),
            "### 无票原因 reason\n",
            _table(("代码", "原因"), NO_TICKET_REASONS.items()),
        ]
    )


def _order() -> OrderPaid:
    return OrderPaid.model_validate_json(json.dumps(examples.ORDER))


def _operation(title: str, form: type[BaseModel], more: Sequence[tuple[str, str, str]] = ()) -> str:
    return f"### {title}\n\n{_fields(form, more)}"


def _fields(model: type[BaseModel], more: Sequence[tuple[str, str, str]] = ()) -> str:
    rows = [
        (field.alias or str(field.validation_alias), "是" if field.is_required() else "否", field.description or "")
        for field in model.model_fields.values()
    ]
    return _table(("参数", "必传", "说明"), [(name.strip(), *rest) for name, *rest in (*_named(rows), *more)])


def _named(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """seatType has a second name in one variant; the document shows the usual one."""
    return [("seatType" if "seatType" in name else name, needed, words) for name, needed, words in rows]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"


def _example(name: str, fields: Mapping[str, str]) -> str:
    formula = FORMULAS[next(known for known in FORMULAS if name.startswith(known))]
    texts = [fields.get(part, "") for part in formula]
    signed = urlencode({**fields, "HMAC": signature(examples.KEY, texts)})
    return f"{name}: 签名原文 `密钥{''.join(texts)}`\n\n```form\n{signed}\n```\n"
