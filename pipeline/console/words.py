"""What codes are called on screen. A code without a word is shown as it is."""

# long: one list of words, so that the same thing is called the same on every page

from __future__ import annotations

from collections.abc import Mapping

from pipeline.console.order_words import LEDGER_ACCOUNTS as LEDGER_ACCOUNTS
from pipeline.console.order_words import POSTINGS as POSTINGS
from pipeline.console.order_words import QUICK as QUICK
from pipeline.console.order_words import SCOPES_OF_ORDERS as SCOPES_OF_ORDERS
from pipeline.console.order_words import TELLING as TELLING
from pipeline.operations_errors import PERSON
from pipeline.operations_users import Role
from pipeline.reasons import OUTCOME_WORDS, RULES
from pipeline.states import ORDER_STATE_WORDS, STATE_WORDS
from pipeline.task_kinds import KINDS

ROLES: Mapping[str, str] = {
    Role.AGENT: "代理商",
    Role.OPERATOR: "操作员",
    Role.SUPERVISOR: "主管",
    "cli": "命令行",
    "system": "系统",
}
ORDER_STATES: Mapping[str, str] = {state.value: words for state, words in ORDER_STATE_WORDS.items()}
PURCHASE_STATES: Mapping[str, str] = {state.value: words for state, words in STATE_WORDS.items()}
OUTCOMES: Mapping[str, str] = {outcome.value: words for outcome, words in OUTCOME_WORDS.items()}
STANDINGS: Mapping[str, str] = {**OUTCOMES, "open": "还没有结果"}
REASONS: Mapping[str, str] = {reason.value: rule.words for reason, rule in RULES.items()}
PAY_STATUSES: Mapping[str, str] = {"1": "1 采购完成", "2": "2 占座成功未支付", "3": "3 支付完成,出票异常"}
ORIGINS: Mapping[str, str] = {
    "queue": "消息队列",
    "http": "代理商接口",
    "replay": "重放",
    "message": "消息",
    "store": "代付设置",
}
STAGES: Mapping[str, str] = {
    "intake": "接单",
    "credentials": "取密",
    "payment": "支付",
    "settlement": "结算",
    "notification": "通知",
}
SCOPES: Mapping[str, str] = {"stage": "阶段", "agent": "代理商", "account": "12306账号"}
UPSTREAMS: Mapping[str, str] = {"railway": "12306", "cashier": "收银台"}
TASK_KINDS: Mapping[str, str] = {kind.value: rule.words for kind, rule in KINDS.items()}
TASK_STATES: Mapping[str, str] = {"open": "待处理", "closed": "已关闭", "all": "全部"}
ANSWERS: Mapping[str, str] = {"paid": "已支付", "unpaid": "未支付"}  # about a hold that a restore may have forgotten
ACTS: Mapping[str, str] = {
    "session.sign_in": "登录",
    "session.sign_out": "退出登录",
    "session.prove": "再次确认身份",
    "users.add": "添加账户",
    "users.disable": "停用账户",
    "users.sign_out": "结束登录",
    "users.enable": "启用账户",
    "users.set_password": "修改登录密码",
    "users.reset_password": "重置登录密码",
    "users.enrol_totp": "绑定动态口令",
    "users.reset_totp": "重置动态口令",
    "agents.add": "添加代理商",
    "agents.set_callback": "修改回调地址",
    "agents.set_password": "设置12306统一密码",
    "agents.set_account_password": "设置12306账号密码",
    "agents.use_unified": "改用统一密码",
    "funds.top_up": "采购资金充值",
    "reconciliation.upload": "上传对账单",
    "reconciliation.note": "对账差异备注",
    "pause.stage": "暂停阶段",
    "pause.agent": "暂停代理商",
    "pause.account": "暂停12306账号",
    "resume.stage": "恢复阶段",
    "resume.agent": "恢复代理商",
    "resume.account": "恢复12306账号",
    "accounts.unblock": "解除12306账号限制",
    "dead_letters.replay": "重放死信",
    "dead_letters.discard": "丢弃死信",
    "dead_letters.restore": "恢复死信",
    "dead_letters.note": "死信备注",
    "dead_letters.start_job": "开始重放任务",
    "dead_letters.stop_job": "停止重放任务",
    "abnormal.propose": "提议结案",
    "abnormal.deny": "退回结案",
    "abnormal.close": "出票异常结案",
    "tasks.take": "领取任务",
    "tasks.hand_over": "转交任务",
    "tasks.close": "关闭任务",
    "events.resend": "重发结果给AM",
    "callbacks.resend": "重发通知",
    "callbacks.test": "测试回调地址",
    "announcements.publish": "发布公告",
    "announcements.withdraw": "撤回公告",
    "orders.fill_in": "回填",
    "orders.import_again": "重新导入",
}
ACT_KINDS: Mapping[str, str] = {
    "session": "登录与退出",
    "orders": "订单",
    "users": "用户管理",
    "agents": "代理商",
    "funds": "资金",
    "dead_letters": "死信",
    "abnormal": "出票异常结案",
    "tasks": "任务",
    "reconciliation": "对账",
    "pause": "暂停",
    "resume": "恢复",
    "accounts": "12306账号",
    "callbacks": "通知",
    "events": "结果事件",
    "announcements": "系统公告",
}
TRIALS: Mapping[str, str] = {
    "taken": "可用",
    "answered_false": "可用, 回答 ret 为 false",
    "not_as_agreed": "回答不符约定",
    "not_reached": "没有回答",
}
RESULTS: Mapping[str, str] = {"done": "完成", "refused": "被拒绝", "replayed": "已重放"}
STORY: Mapping[str, str] = {
    "order_paid": "用户已支付",
    "accepted": "代付请求已受理",
    "need_pay_repeated": "重复的代付请求",
    "need_pay_refused": "代付请求被拒绝",
    "need_pay_waits_for_order": "代付请求先到, 等订单",
    "credentials_found": "取到12306密码",
    "submitted": "支付已提交",
    "in_doubt": "支付结果核实中",
    "payment_put_off": "支付推迟",
    "purchased": "采购完成",
    "held_unpaid": "占座成功未支付",
    "paid_abnormal": "支付完成,出票异常",
    "settled": "结算完成",
    "departure_unfrozen": "发车后解冻",
    "agent_told": "已通知代理商",
    "agent_not_told": "通知代理商未成功",
    "callback_resent": "重发通知",
    "dead_letter": "成为死信",
    "replayed": "重放",
    "imported_again": "重新导入",
    "dead_letter_discarded": "死信丢弃",
    "dead_letter_restored": "死信恢复",
    "confirm_stored": "收到确认出票",
    "ticketed_offline": "线下出票",
    "no_ticket": "无票关闭",
    "refund_requested": "用户申请退款",
    "refund_closed": "退款申请结束",
    "railway_refund_arrived": "12306退款到账",
    "closing_proposed": "提议结案",
    "closing_denied": "结案被退回",
    "closed_by_person": "人工结案",
    "task_closed": "任务关闭",
    "recovered_hold": "恢复后核实占座",
    "reconciliation_break": "对账差异",
}
FACTS: Mapping[str, str] = {
    "account": "账号",
    "agent": "代理商",
    "role": "角色",
    "after": "改为",
    "before": "原为",
    "reason": "理由",
    "why": "原因",
    "evidence": "凭据",
    "result": "结果",
    "generation": "第几次代付",
    "held_order_no": "12306订单号",
    "origin": "来源",
    "source": "来自",
    "stage": "阶段",
    "order_no": "订单号",
    "how": "方式",
    "pay_status": "payStatus",
    "err_code": "错误码",
    "error": "错误",
    "trade": "交易号",
    "amount": "金额",
    "fare": "车票费",
    "paid": "支付",
    "debited": "扣款",
    "unfrozen": "解冻",
    "partial_refund": "部分退款",
    "sessions_ended": "退出的登录",
    "closed_attempts": "停下的支付",
    "dead_letter": "死信",
    "letters": "死信条数",
    "rate": "每秒条数",
    "job": "重放任务",
    "tickets": "张数",
    "ticket_numbers": "车票号",
    "edited": "修改内容",
    "proposed_by": "提议人",
    "resolution": "结论",
    "agreed": "代理商同意",
    "told_at": "通知时间",
    "note": "备注",
    "key": "流水号",
    "title": "标题",
    "verdict": "测试结果",
    "status": "HTTP 状态",
    "sub": "子账号",
    "here": "这里",
    "there": "账单",
    "name": "文件",
    "lines": "行数",
    "digest": "文件摘要",
}
FIELDS: Mapping[str, str] = {
    "name": "用户名",
    "password": "密码",
    "repeated": "再次输入",
    "old": "原密码",
    "new": "新密码",
    "code": "动态口令",
    "proof": "密码或动态口令",
    "role": "角色",
    "agent": "代理商",
    "reason": "理由",
    "limit": "每页条数",
    "cursor": "翻页位置",
    "since": "起始时间",
    "until": "截止时间",
    "ids": "勾选的死信",
    "rate": "速率",
    "agreed": "代理商同意",
    "note": "备注",
    "text": "内容",
    "how": "结案方式",
    "debited": "实际扣款",
    "debited_fen": "实际扣款 (分)",
    "evidence": "凭据",
    "resolution": "结论",
    "to": "转给",
    "scope": "暂停什么",
    "quick": "快捷搜索",
    "departure_date": "发车日期",
    "order_date": "预订日期",
    "ticket_no": "车票号",
    "seat": "坐席",
    "seat_no": "座位号",
    "price": "票价",
    "passenger": "乘车人姓名",
    "first_since": "首次失败从",
    "first_until": "首次失败到",
    "last_since": "最近失败从",
    "last_until": "最近失败到",
    "title": "标题",
    "account": "账号",
    "amount": "金额",
    "fen": "金额 (分)",
    "at": "时间",
    "file": "账单文件",
    "kind": "种类",
    "owner": "负责人",
    "state": "状态",
}
LETTER_STATES: Mapping[str, str] = {
    "open": "待处理",
    "replayed": "已重放",
    "discarded": "已丢弃",
    "superseded": "已被取代",
}
REPLAY_RULES: Mapping[str, str] = {
    "after_account": "账号处理好后可重放",
    "never": "不能重放",
    "after_look": "人工核对后可重放",
    "after_top_up": "充值后可重放",
    "at_once": "可以直接重放",
    "as_it_stands": "按原样、修改后或重发",
}
JOB_STATES: Mapping[str, str] = {
    "checking": "试算中",
    "checked": "试算完成, 等待开始",
    "running": "重放中",
    "stopped": "已停止",
    "done": "已完成",
}
ITEM_RESULTS: Mapping[str, str] = {
    "replay": "已重放",
    "refused": "被拒绝",
    "failed_again": "再次失败",
    "failed": "程序错误",
    "waiting": "排队中",
    "left": "没有轮到",
}
FATES: Mapping[str, str] = {
    "ticketed": "已扣款, 已出票",
    "refunded": "已扣款, 12306已退款",
    "never_debited": "从未扣款",
}
# How a task ended, where that is a code.
RESOLUTIONS: Mapping[str, str] = {**PURCHASE_STATES, **FATES, **ANSWERS, "matched": "账单已对上"}
PROOFS: Mapping[str, str] = {
    "paid": "已支付",
    "refused": "被拒绝",
    "not_sent": "没有发出",
    "no_payment": "核实未支付",
    "person": "人工结案",
}
# How a state looks: good, bad, in the middle, or none of these.
TONES: Mapping[str, str] = {
    **dict.fromkeys(("ticketed", "ticketed_offline", "purchased", "settled", "done", "replayed"), "good"),
    **dict.fromkeys(("purchase_failed", "held_unpaid", "no_ticket", "refused", "refunded"), "warn"),
    **dict.fromkeys(("paid_abnormal", "in_doubt"), "bad"),
    **dict.fromkeys(("purchasing", "accepted", "ready", "paying"), "busy"),
    **dict.fromkeys(("open", "checked", "stopped"), "warn"),
    **dict.fromkeys(("checking", "running", "waiting"), "busy"),
    **dict.fromkeys(("failed", "failed_again"), "bad"),
    "replay": "good",
    **dict.fromkeys(("matched", "fine"), "good"),
    **dict.fromkeys(("low", "only_here"), "warn"),
    **dict.fromkeys(("short", "only_there", "differs", "unmatched"), "bad"),
    "in_flight": "busy",
}


def person(actor: str | None) -> str:
    """Who acted: a person's name as it is, a process in words."""
    if actor is None:
        return ""
    if actor.startswith(PERSON):
        return actor.removeprefix(PERSON)
    kind, _, name = actor.partition(":")
    return f"系统 {STAGES.get(name, name)}" if kind == "system" else {"am": "AM", "agent": "代理商"}.get(actor, actor)
