#!/bin/sh
# Orders for a drill (deploy/docs/drills.md): holds seats at the sandbox and prints what AM sends for them, one message a line.
#   deploy/drill-orders.sh AGENT FIRST LAST [ACCOUNT] [FIELD=VALUE of the hold…] | daifu publish -
# SANDBOX is the sandbox's address. The orders are AGENT and a number, FIRST to LAST, each on a 12306 account of its own unless
# ACCOUNT is given ('' for none); every account's password is only-a-drill-password. Needs curl and jq.
set -eu
agent=$1 first=$2 last=$3 account=${4:-}
if [ $# -gt 4 ]; then shift 4; else shift $#; fi
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
departure=$(date -u -d '+3 days' +%Y-%m-%dT02:00:00Z)
seq "$first" "$last" | while read -r number; do
    order=$agent$number
    hold=E$(printf '%s' "$order" | cksum | cut -d' ' -f1)
    login=${account:-$order@example.com}
    body=$(jq -nc --arg login "$login" --arg hold "$hold" --arg departure "$departure" '
        {account: $login, password: "only-a-drill-password", held_order_no: $hold, train_no: "G101", departure_at: $departure,
         from: "北京南", to: "上海虹桥", passengers: [{name: "张三", id_type: "1", id_no: "000000190001010000"}],
         seats: [{seat: "二等座", price_fen: 55300}], price_fen: 55300, deadline_s: 1800, force: true}')
    for change; do
        body=$(printf '%s' "$body" | jq -c --arg k "${change%%=*}" --arg v "${change#*=}" '.[$k] = ($v | fromjson? // $v)')
    done
    curl -fsS -o /dev/null -H 'Content-Type: application/json' -d "$body" "$SANDBOX/sandbox/holds"
    jq -nc --arg order "$order" --arg agent "$agent" --arg login "$login" --arg hold "$hold" --arg departure "$departure" --arg now "$now" '
        {specversion: "1.0", source: "/am/drill", subject: $order, time: $now} as $event |
        ($event + {id: ($order + "-paid"), type: "order.paid", data: {order_no: $order, agent: $agent, trip: "single",
            train_no: "G101", from: "北京南", to: "上海虹桥", departure_at: $departure, seat: {code: "4", price_fen: 55300},
            fallback_seats: [], passengers: [{name: "张三", id_type: "1", id_no: "000000190001010000", ticket_type: "1"}],
            contact: {name: "张三", phone: "00000000000"}, fare_fen: 57600, insurance_fen: 0, source: "drill",
            ordered_at: $now, paid_at: $now}}),
        ($event + {id: ($order + "-pay"), type: "purchase.need_pay", data: {order_no: $order, agent: $agent, account: $login,
            held_order_no: $hold, price_fen: 55300}})'
done
