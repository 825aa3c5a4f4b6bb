"""The invariants of the audit in the words of those who look at the overview: each says what is not so any more."""

from __future__ import annotations

from collections.abc import Mapping

# `tests/unit/test_console_overview.py`: every invariant that the scheduled audit checks, and no other.
INVARIANTS: Mapping[str, str] = {
    "the_guards_are_in_place": "防止重复支付的唯一索引缺失",
    "every_posting_balances": "有一笔记账借贷不平",
    "legs_allowed_for_their_kind": "记账动了这种业务不该动的账户",
    "every_posting_has_its_key": "记账的流水号与业务不符",
    "postings_belong_to_their_order": "订单的记账记到了别的代理商名下",
    "every_entry_has_its_posting": "有分录找不到所属的记账",
    "the_fare_is_frozen_once": "车票费没有恰好冻结一次",
    "frozen_rest_of_each_order": "订单的冻结余额与记账不符",
    "frozen_money_leaves_once": "冻结资金解冻了不止一次",
    "frozen_money_leaves_as_the_order_ended": "冻结资金的去向与订单结果不符",
    "settled_is_the_whole_fare": "结算额与部分退款之和不等于车票费",
    "refunds_within_what_was_posted": "12306退款超过了实际支付",
    "every_refund_is_booked_once": "12306退款漏记或重复入账",
    "in_flight_is_what_is_open": "在途资金与尚无结果的支付不符",
    "every_intent_has_its_hold": "已提交的支付没有对应的在途资金",
    "every_hold_has_its_intent": "在途资金没有对应的支付提交",
    "holds_are_resolved_once": "在途资金了结了不止一次",
    "holds_are_resolved_as_proven": "在途资金的了结与支付凭据不符",
    "posted_is_what_was_debited": "入账金额与实际扣款不符",
    "one_submit_per_purchase": "一次代付提交了不止一次支付",
    "one_open_payment_per_order": "一个订单有多笔已付或未明的支付",
    "one_open_payment_per_hold": "一个占座有多笔已付或未明的支付",
    "every_attempt_has_its_purchase": "支付尝试找不到所属的代付",
    "the_intent_is_on_both_rows": "代付与支付尝试对“已提交”的记载不一致",
    "no_attempt_outlives_its_purchase": "代付已结束, 支付尝试还开着",
    "held_unpaid_is_proven": "没有凭据就按“占座成功未支付”结束",
    "no_payment_is_proven_late_enough": "“未支付”的结论下得过早",
    "purchased_is_proven": "没有凭据就按“采购完成”结束",
    "only_unpaid_orders_are_imported_again": "没有证明未支付的订单被重新导入",
    "generations_follow_each_other": "各次代付的次序不连续",
    "no_purchase_is_forgotten": "有代付无人处理, 也不在死信里",
    "every_abnormal_has_its_task": "出票异常没有对应的任务",
    "no_request_waits_for_nobody": "代付请求一直在等一个不会来的订单",
    "ticketed_offline_waits_for_departure": "线下出票的订单没有等待发车后解冻",
    "orders_know_their_latest_purchase": "订单记载的不是最新一次代付",
    "every_purchase_has_its_order": "代付与订单的代理商不一致",
    "an_end_has_its_reason": "代付的结果没有时间或原因",
    "no_password_outlives_its_purchase": "代付结束后12306密码没有删除",
    "an_abnormal_is_left_only_by_a_person": "出票异常没有经过人工就改变了状态",
    "every_closing_is_in_the_audit_log": "人工结案没有记入审计日志",
    "a_closed_order_buys_nothing": "已关闭的订单还有代付在进行或已买到票",
    "what_was_kept_is_done": "先收下的确认出票或退款没有执行",
    "no_outcome_is_left_untold": "有结果没有人去通知代理商",
    "every_end_has_its_callback": "代付有了结果却没有生成通知",
    "only_the_last_outcome_is_told": "等待发送的通知不是最新的结果",
    "what_was_told_was_decided": "通知代理商的内容与结果不符",
    "delivered_has_its_call": "记为已送达的通知没有代理商的应答",
    "an_exhausted_callback_is_a_dead_letter": "放弃的通知没有成为死信",
    "every_step_has_its_result": "代付的状态没有告诉AM",
    "results_count_up": "发给AM的结果编号有缺或重复",
    "balances_equal_entries": "账户余额与分录之和不符",
    "guarded_accounts_never_below_zero": "账户余额为负",
    "no_money_is_made_or_lost": "全部分录之和不为零",
}
SEVERITIES: Mapping[str, str] = {
    "money": "资金",
    "order": "订单",
    "record": "记录",
}
# What to do at once, by how bad it is.
ADVICE: Mapping[str, str] = {
    "money": "先暂停支付阶段, 再查原因",
    "order": "今天处理",
    "record": "报告缺陷",
}
