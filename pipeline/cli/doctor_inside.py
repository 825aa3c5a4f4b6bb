"""What `daifu doctor` asks of our own: settings, database, clock, broker, policies, workers, audit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import amqp
from sqlalchemy.engine import make_url

from pipeline.broker import compare, declare
from pipeline.broker.connection import close, connect
from pipeline.broker.declare import Difference
from pipeline.broker.depths import QueueDepths
from pipeline.broker.port import BrokerUnavailable
from pipeline.broker.topology import AM_QUEUE
from pipeline.cli.context import opened
from pipeline.cli.findings import Finding, Level, Wrong, ok, warning, wrong
from pipeline.cli.topology import management_of
from pipeline.settings import Settings, split_listen
from pipeline.store import audit_runs, migrate, wakes
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.queries_overview import workers_by_stage
from pipeline.store.server import server
from pipeline.store.work_keys import STAGES

MAX_SKEW_S: Final = 2.0
LATE_S: Final = 300.0  # work that nobody has taken for so long is nobody's
CONNECTIONS_LEFT: Final = 10
NOT_A_WORKERS_PLACE: Final = (
    "`daifu topology check` as setup looks at it, `daifu doctor` beside a payment worker at 12306, beside a notification worker at the"
    " agents' addresses"
)
RABBITMQ: Final = ((3, 10), (4, 1))  # from, and up to but without


def settings_fit(settings: Settings) -> list[Finding]:
    if all_in_one(settings):
        return [ok("embedded: everything runs in `daifu up`")]
    if settings.embedded:  # where operators type: it has the database's address alone
        return [warning("no broker's address here: it and what is outside are not looked at", NOT_A_WORKERS_PLACE)]
    if not settings.database_url:
        advice = "several processes need one PostgreSQL, SQLite in HOME is for `daifu up`: set DAIFU_DATABASE_URL=postgresql://…"
        raise Wrong("no DAIFU_DATABASE_URL beside an amqp:// broker", advice)
    found = []
    if settings.railway_url is not None:
        found += _dangerous(settings)
    if split_listen(settings.health_listen)[1] == 0:
        found.append(
            warning(
                "the health port is another one at every start", "set DAIFU_HEALTH_LISTEN, for example 0.0.0.0:9306"
            )
        )
    return found or [ok("they fit together")]


def all_in_one(settings: Settings) -> bool:
    """Whether this is `daifu up` by itself, and not a process beside others that was given no broker."""
    return settings.embedded and not settings.database_url


def _dangerous(settings: Settings) -> list[Finding]:
    """What is right for development and not beside the real 12306."""
    found = _in_clear(settings)
    if settings.callback_allow_http:
        found.append(
            warning(
                "callbacks go over plain http too",
                "unset DAIFU_CALLBACK_ALLOW_HTTP: anybody on the way reads and forges them",
            )
        )
    if settings.callback_allow_nets:
        nets = ", ".join(str(net) for net in settings.callback_allow_nets)
        found.append(
            warning(f"callbacks may reach {nets}", "unset DAIFU_CALLBACK_ALLOW_NETS unless an agent really lives there")
        )
    return found


def _in_clear(settings: Settings) -> list[Finding]:
    """What goes over a network without TLS, or to a server whose certificate nobody checks."""
    found = []
    broker = urlsplit(settings.broker_url)
    if broker.scheme == "amqp" and not _is_here(broker.hostname):
        found.append(
            warning("RabbitMQ is reached without TLS", "use amqps:// in DAIFU_BROKER_URL (deploy/docs/deployment.md)")
        )
    url = make_url(settings.database)
    checked = url.query.get("sslmode") == "verify-full"
    if url.get_backend_name() == "postgresql" and not _is_here(url.host) and not checked:
        found.append(
            warning(
                "PostgreSQL's certificate is not checked",
                "add sslmode=verify-full to DAIFU_DATABASE_URL (deploy/docs/deployment.md)",
            )
        )
    return found


def _is_here(host: str | None) -> bool:
    return not host or host in ("localhost", "::1") or host.startswith(("127.", "/"))


def database(settings: Settings) -> list[Finding]:
    if not settings.database_url and not (settings.home / "daifu.sqlite3").exists():
        raise Wrong(f"no database in {settings.home} yet", "run `daifu up` or `daifu db upgrade`")
    stands_at, head = migrate.current(settings.database), migrate.head()
    if stands_at != head:
        raise Wrong(f"tables at revision {stands_at or 'none'}, this version needs {head}", "run `daifu db upgrade`")
    with opened(settings) as store:
        said = store.read(server)
    found = [ok(f"{said.version}, tables at revision {head}")]
    if said.unsafe:
        found.append(
            wrong(
                f"{', '.join(said.unsafe)}: a power cut may forget a payment",
                "switch it on in postgresql.conf and reload",
            )
        )
    if said.most_connections is not None and said.most_connections - said.connections < CONNECTIONS_LEFT:
        found.append(
            warning(
                f"{said.connections} of {said.most_connections} connections are used",
                "raise max_connections, or run fewer workers",
            )
        )
    return found


def clock(settings: Settings) -> list[Finding]:
    if not settings.database_url:
        return [ok("one machine, one clock")]
    with opened(settings) as store:
        skew_s = (store.read(now) - datetime.now(UTC)).total_seconds()
    if abs(skew_s) > MAX_SKEW_S:
        return [
            wrong(
                f"the database's clock is {skew_s:+.1f} s from this machine's",
                "set both by NTP (timedatectl set-ntp true)",
            )
        ]
    return [ok(f"{abs(skew_s):.2f} s from the database's")]


def broker(settings: Settings) -> list[Finding]:
    if all_in_one(settings):
        return [ok("memory://, inside `daifu up`")]
    if settings.embedded:
        return []  # the settings' own line says so
    version = _broker_version(settings.broker_url)
    try:
        found = [*_differences(settings.broker_url), *_unread(settings.broker_url)]
    except BrokerUnavailable as error:
        if isinstance(error.__cause__, amqp.AccessRefused):  # a process's own user, with least rights
            return [ok(f"{version.detail}; its queues are not this user's to look at: `daifu topology check` as setup")]
        raise
    if version.level is Level.OK and not found:
        return [ok(f"{version.detail}, queues and exchanges as they should be")]
    return [version, *found]


def _differences(url: str) -> Iterator[Finding]:
    for difference in declare.check(url):
        missing = difference.found == "missing"
        advice = "run `daifu topology apply`" if missing else "once it is empty delete it, then `daifu topology apply`"
        yield wrong(f"{difference.object}: {difference.found}, should be {difference.expected}", advice)


def _unread(url: str) -> Iterator[Finding]:
    """Queues with messages that nobody consumes; what AM does with its own is AM's."""
    depths = QueueDepths(url, name="daifu doctor")
    try:
        for depth in depths.read():
            if depth.consumers == 0 and depth.messages > 0 and depth.queue != AM_QUEUE:
                stage = depth.queue.removeprefix("daifu.")
                command = "daifu relay" if stage.endswith(".dlq") else f"daifu worker {stage}"
                yield wrong(f"{depth.queue}: {depth.messages} messages and no consumer", f"start it: `{command}`")
    finally:
        depths.close()


def policies(settings: Settings) -> list[Finding]:
    """Policies, bindings and queues of our name that we don't know: what AMQP does not show."""
    if settings.embedded:
        return []
    management = management_of(settings)
    if management is None:
        return [
            ok("not compared, nor bindings: `daifu topology check` as setup, which has DAIFU_BROKER_MANAGEMENT_URL")
        ]
    found = [
        wrong(f"{each.object}: {each.found}, should be {each.expected}", _advice(each))
        for each in compare.differences(management)
    ]
    return found or [ok("they and the bindings are as they should be")]


def _advice(difference: Difference) -> str:
    if difference.object.startswith("policy"):
        return "ours is in deploy/rabbitmq/definitions.json; `rabbitmqctl list_policies` shows whose holds instead"
    if difference.found == "missing":
        return "run `daifu topology apply`"
    return "daifu did not make it: remove it, a queue once it is empty"


def _broker_version(url: str) -> Finding:
    connection: Any = connect(url, name="daifu doctor")
    try:
        properties = connection.server_properties
    finally:
        close(connection)
    version = str(properties.get("version", "unknown"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    lowest, end = RABBITMQ
    if not lowest <= numbers < end:
        return warning(
            f"RabbitMQ {version}: daifu was tried on 3.10 and 4.0", "run one of them, or a version in between"
        )
    return ok(f"RabbitMQ {version}")


def workers(settings: Settings) -> list[Finding]:
    if all_in_one(settings):
        return [ok("in `daifu up`")]
    with opened(settings) as store:
        alive, late_s = store.read(_at_work)
    found = [
        wrong(f"no worker of {stage} is alive", f"start one: `daifu worker {stage}`")
        for stage in STAGES
        if alive.get(stage, 0) == 0
    ]
    if late_s > LATE_S:
        found.append(
            wrong(
                f"work has been due for {late_s:.0f} s and nobody takes it",
                "is a relay running (`daifu relay`), is something paused (`daifu pauses`)?",
            )
        )
    return found or [ok(", ".join(f"{stage} {alive[stage]}" for stage in STAGES))]


def _at_work(tx: Transaction) -> tuple[dict[str, int], float]:
    moment, oldest = now(tx), wakes.oldest_due(tx)
    return workers_by_stage(tx, moment), 0.0 if oldest is None else (moment - oldest).total_seconds()


def audit(settings: Settings) -> list[Finding]:
    if not settings.database_url and not (settings.home / "daifu.sqlite3").exists():
        return []  # the database's own line says so
    with opened(settings) as store:
        moment, run = store.read(lambda tx: (now(tx), audit_runs.latest(tx)))
    if run is None:
        return [warning("no audit has run yet", "the relay makes them; or `daifu audit` now")]
    if not run.ok:
        names = ", ".join(str(one["invariant"]) for one in run.broken)
        return [wrong(f"broken: {names}", "`daifu audit --json` names the orders; deploy/docs/audit.md what to do")]
    age_s = (moment - run.at).total_seconds()
    if age_s > 4 * settings.audit_every_s:
        return [
            warning(
                f"the last audit is {age_s / 3600:.1f} h old",
                "is a relay running? its log says `audit_broke_off` if not",
            )
        ]
    return [ok(f"{run.checked} invariants held {age_s / 60:.0f} min ago")]
