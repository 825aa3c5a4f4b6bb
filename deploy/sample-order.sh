#!/bin/sh
# One order through all of daifu in `deploy/compose.yaml`, with the sandbox as 12306, cashier and agent: the sample of the
# source document. Prints the order as it ended; ends with 0 if it was paid once and settled.
#   deploy/sample-order.sh [ORDER_NO]           COMPOSE: how compose is called here [docker compose]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
order=${1:-xcslw$(date +%s)}
compose() { ${COMPOSE:-docker compose} --file "$here/compose.yaml" "$@"; }
daifu() { service=$1 && shift && compose run --rm --no-deps -T "$service" "$@"; }

# The sandbox is told by HTTP what it holds and which key its agent has: on its own network, by its own Python.
sandbox() { # METHOD PATH, the JSON on stdin
    compose exec -T sandbox python -c '
import sys, urllib.request as r
q = r.Request("http://127.0.0.1:8307" + sys.argv[2], sys.stdin.buffer.read(), {"Content-Type": "application/json"}, method=sys.argv[1])
print(r.urlopen(q, timeout=30).read().decode())' "$@"
}

now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
departure=$(date -u -d '+3 days' +%Y-%m-%dT02:00:00Z)
hold=E$(printf '%s' "$order" | cksum | cut -d' ' -f1)

if ! daifu operator agents list --json | grep -q '"xcslw"'; then
    key=$(daifu operator agents add xcslw --callback http://sandbox:8307/sandbox/agents/xcslw/callback --by sample --json </dev/null |
        sed -n 's/.*"key": "\([^"]*\)".*/\1/p')
    printf '{"key": "%s"}' "$key" | sandbox PUT /sandbox/agents/xcslw
    echo 'only-a-sample-password' | daifu operator agents set-password xcslw --by sample
    daifu operator funds top-up xcslw --fen 100000000 --reason sample --by sample
fi

sandbox POST /sandbox/holds <<JSON
{"account": "$order@example.com", "password": "only-a-sample-password", "held_order_no": "$hold", "train_no": "G101",
 "departure_at": "$departure", "from": "北京南", "to": "上海虹桥",
 "passengers": [{"name": "张三", "id_type": "1", "id_no": "000000190001010000"}],
 "seats": [{"seat": "二等座", "price_fen": 55300}], "price_fen": 55300, "deadline_s": 1800}
JSON

daifu am publish - <<JSON
[{"specversion": "1.0", "id": "$order-paid", "source": "/am/sample", "type": "order.paid", "subject": "$order", "time": "$now",
  "data": {"order_no": "$order", "agent": "xcslw", "trip": "single", "train_no": "G101", "from": "北京南", "to": "上海虹桥",
   "departure_at": "$departure", "seat": {"code": "4", "price_fen": 55300}, "fallback_seats": [],
   "passengers": [{"name": "张三", "id_type": "1", "id_no": "000000190001010000", "ticket_type": "1"}],
   "contact": {"name": "张三", "phone": "00000000000"}, "fare_fen": 57600, "insurance_fen": 0, "source": "sample",
   "ordered_at": "$now", "paid_at": "$now"}},
 {"specversion": "1.0", "id": "$order-pay", "source": "/am/sample", "type": "purchase.need_pay", "subject": "$order", "time": "$now",
  "data": {"order_no": "$order", "agent": "xcslw", "account": "$order@example.com", "held_order_no": "$hold", "price_fen": 55300}}]
JSON

tries=0
until shown=$(daifu operator orders show "$order" --json) && echo "$shown" | grep -q '"agent_told": true'; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || { echo "$shown" && echo "not settled and told after 60 looks" >&2 && exit 1; }
    sleep 1
done
daifu operator orders show "$order"
echo "$shown" | grep -q '"state": "settled"'
