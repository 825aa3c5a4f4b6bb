"""The messages between AM and daifu as an AsyncAPI 3 document, made from the same models that read and write them."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel

from schemas import examples
from schemas.am_messages import EVENTS, type_of
from schemas.envelope import CONTENT_TYPE
from schemas.results import RESULT_TYPES, ResultEvent

Json = dict[str, Any]

FILE_NAME = "asyncapi.json"
# A quorum queue forgets a closed channel while its last messages may still be on their way; a confirmed one has arrived.
CONFIRMED = "必须开启 publisher confirms 并等到确认: 未确认就断开的消息可能丢失, 确认过的不会"
_AMQP = "0.3.0"
_SUMMARIES = {
    "order.paid": "用户已支付订单",
    "purchase.need_pay": "代理商请求代付",
    "purchase.confirmed": "代理商已自行出票 (CONFIRM)",
    "purchase.no_ticket": "代理商无法出票 (NO_TICKET)",
    "refund.requested": "用户申请退款",
    "refund.closed": "退款申请已处理",
    "refund.arrived": "12306退款到账",
    "purchase.accepted": "代付请求已受理",
    "purchase.refused": "代付请求被拒绝",
    "purchase.purchased": "采购完成",
    "purchase.held_unpaid": "占座成功未支付",
    "purchase.paid_abnormal": "支付完成,出票异常",
    "purchase.settled": "已结算",
    "purchase.refunded": "已退款",
}


def document() -> Json:
    """The whole document. Deterministic: it is committed, and a test compares."""
    schemas: Json = {}
    messages = {type_of(event): _message(type_of(event), event, "validation", schemas) for event in EVENTS}
    results: Json = {kind: _message(kind, ResultEvent, "serialization", schemas) for kind in RESULT_TYPES}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "daifu (代付)",
            "version": "1",
            "description": "AM 与代付之间的消息: CloudEvents 1.0, 结构化 JSON。金额单位为分, 时间为带时区的 RFC 3339。",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            "orders": _channel("daifu", f"AM 发来的消息, routing key 即消息类型。{CONFIRMED}", messages),
            "results": _channel("daifu.events", "采购结果, routing key 即消息类型; 默认绑定队列 daifu.am", results),
        },
        "operations": {
            "receiveOrders": _operation("receive", "orders", messages),
            "sendResults": _operation("send", "results", results),
        },
        "components": {"messages": {**messages, **results}, "schemas": schemas},
    }


def render() -> str:
    return json.dumps(document(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _message(kind: str, model: type[BaseModel], mode: Literal["validation", "serialization"], schemas: Json) -> Json:
    schema = model.model_json_schema(mode=mode, ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    example = examples.event(kind) if kind in examples.MESSAGES else examples.result_event(kind)
    return {
        "name": kind,
        "title": _SUMMARIES[kind],
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": [{"name": kind.replace(".", "-"), "payload": example}],
    }


def _channel(exchange: str, words: str, messages: Json) -> Json:
    return {
        "address": None,
        "description": words,
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in messages},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": exchange, "type": "topic", "durable": True},
                "bindingVersion": _AMQP,
            }
        },
    }


def _operation(action: str, channel: str, messages: Json) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{kind}"} for kind in messages],
    }
