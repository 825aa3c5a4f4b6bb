"""`daifu doctor`: each thing that can be wrong is told in plain words with how to mend it, and by the right exit code."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pipeline.broker.port import BrokerUnavailable
from pipeline.cli import doctor_inside, doctor_outside, doctor_rings
from pipeline.cli.findings import Finding, checked
from pipeline.clock import WallClock
from pipeline.errors import Unreachable
from pipeline.settings import Settings
from pipeline.store import agents, audit_runs
from pipeline.store.server import Server
from pipeline.vault import KeyRing
from tests.unit.cli_home import Home
from tests.unit.doctor_said import PRODUCTION, settings, told


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_settings_that_do_not_fit_are_named(home: Home) -> None:
    assert told(doctor_inside.settings_fit, settings(home)) == []
    assert told(doctor_inside.settings_fit, settings(home, **PRODUCTION)) == []
    (one,) = told(doctor_inside.settings_fit, settings(home, BROKER_URL=PRODUCTION["BROKER_URL"]))
    assert "DAIFU_DATABASE_URL" in one[1]
    loose = PRODUCTION | {
        "CALLBACK_ALLOW_HTTP": "true",
        "CALLBACK_ALLOW_NETS": "127.0.0.0/8",
        "HEALTH_LISTEN": "0.0.0.0:0",
    }
    urls = {"RAILWAY_URL": "https://kyfw.12306.cn", "CASHIER_URL": "https://cashier.example"}
    found = told(doctor_inside.settings_fit, settings(home, **loose, **urls))
    assert [level for level, _detail, _mend in found] == ["warning"] * 3
    assert [word in detail for word, (_, detail, _) in zip(("http", "127.0.0.0/8", "port"), found, strict=True)] == [
        True
    ] * 3


def test_a_database_that_is_not_there_is_old_or_away(home: Home) -> None:
    ((level, _detail, mend),) = told(doctor_inside.database, settings(home))
    assert (level, "daifu db upgrade" in mend) == ("wrong", True)
    home.ready()
    assert told(doctor_inside.database, settings(home)) == []
    with home.store() as store:
        store.write(lambda tx: tx.run(text("UPDATE alembic_version SET version_num = '0001'")))
    ((level, detail, mend),) = told(doctor_inside.database, settings(home))
    assert (level, "0001" in detail, mend) == ("wrong", True, "run `daifu db upgrade`")
    ((level, _detail, mend),) = told(doctor_inside.database, settings(home, **PRODUCTION))
    assert (level, "DAIFU_DATABASE_URL" in mend) == ("unreachable", True)


def test_a_database_that_forgets_or_is_full(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ready()
    monkeypatch.setattr(doctor_inside, "server", lambda _tx: Server("PostgreSQL 15", ["full_page_writes=off"], 95, 100))
    found = told(doctor_inside.database, settings(home))
    assert [(level, detail.split(":")[0]) for level, detail, _mend in found] == [
        ("wrong", "full_page_writes=off"),
        ("warning", "95 of 100 connections are used"),
    ]


def test_clocks_that_differ(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ready()
    given = settings(home, DATABASE_URL=f"sqlite:///{home.path / 'daifu.sqlite3'}")
    assert told(doctor_inside.clock, given) == []
    monkeypatch.setattr(WallClock, "now", lambda _self: datetime.now(UTC) + timedelta(seconds=9))
    ((level, detail, mend),) = told(doctor_inside.clock, given)
    assert (level, "+9.0 s" in detail, "NTP" in mend) == ("wrong", True, True)


def test_key_rings_missing_readable_by_others_or_old(home: Home) -> None:
    path = home.path / "vault.json"
    ((_level, _detail, mend),) = told(doctor_rings.password_vault, settings(home))
    assert "daifu vault keygen" in mend
    home.ready()
    assert told(doctor_rings.password_vault, settings(home)) == []
    path.chmod(0o640)
    ((level, _detail, mend),) = told(doctor_rings.password_vault, settings(home))
    assert (level, "chmod 600" in mend) == ("wrong", True)
    path.chmod(0o600)
    home.path.chmod(0o777)
    ((_level, _detail, mend),) = told(doctor_rings.service_keys, settings(home))
    assert "chmod go-w" in mend
    home.path.chmod(0o700)
    KeyRing.generate(datetime.now(UTC) - timedelta(days=400)).save(path)
    ((level, detail, mend),) = told(doctor_rings.password_vault, settings(home))
    assert (level, "400 days old" in detail, "rotate --ring passwords" in mend) == ("warning", True, True)


def test_a_ring_that_kubernetes_mounts_for_our_group_is_fine_and_for_all_is_not(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.ready()
    path = home.path / "vault.json"
    path.chmod(0o440)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert told(doctor_rings.password_vault, settings(home)) == []
    path.chmod(0o444)
    ((level, _detail, _mend),) = told(doctor_rings.password_vault, settings(home))
    assert level == "wrong"


def test_one_process_among_others_is_asked_for_what_is_its_own(home: Home) -> None:
    operator = settings(home, DATABASE_URL=PRODUCTION["DATABASE_URL"])
    ((level, detail, mend),) = told(doctor_inside.settings_fit, operator)
    assert (level, "broker" in detail, "topology check" in mend) == ("warning", True, True)
    for check in (
        doctor_inside.broker,
        doctor_rings.password_vault,
        doctor_rings.service_keys,
        doctor_outside.railway,
        doctor_outside.callbacks,
    ):
        assert told(check, operator) == []
    ((level, _detail, _mend),) = told(doctor_inside.workers, operator)
    assert level == "unreachable", "workers are asked of the database"
    named = settings(home, **PRODUCTION, VAULT_FILE=str(home.path / "none.json"))
    ((level, _detail, _mend),) = told(doctor_rings.password_vault, named)
    assert level == "wrong", "what was promised is missing"


def test_a_public_half_that_does_not_match_its_ring(home: Home) -> None:
    home.ready()
    path = home.path / "vault.json"
    old = KeyRing.load(path)
    stranger = KeyRing.generate().public
    ((level, detail, _mend),) = told(doctor_rings.password_vault, settings(home, VAULT_PUBLIC_KEY=str(stranger)))
    assert (level, "is not on the ring" in detail) == ("wrong", True)
    forged = f"{old.public.key_id}:{stranger.public_key}"
    ((level, detail, _mend),) = told(doctor_rings.password_vault, settings(home, VAULT_PUBLIC_KEY=forged))
    assert (level, "another key" in detail) == ("wrong", True)
    old.rotate(datetime.now(UTC)).save(path)
    ((level, detail, _mend),) = told(doctor_rings.password_vault, settings(home, VAULT_PUBLIC_KEY=str(old.public)))
    assert (level, "not the current key" in detail) == ("warning", True)
    path.unlink()
    assert told(doctor_rings.password_vault, settings(home, VAULT_PUBLIC_KEY=str(old.public))) == []


def test_stages_without_workers_and_work_that_nobody_takes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ready()
    with home.store() as store:

        @contextmanager
        def there(_settings: Settings) -> Iterator[Any]:
            yield store

        monkeypatch.setattr(doctor_inside, "opened", there)
        given = settings(home, **PRODUCTION)
        assert [detail for _level, detail, _mend in told(doctor_inside.workers, given)] == [
            f"no worker of {stage} is alive"
            for stage in ("intake", "credentials", "payment", "settlement", "notification")
        ]
        alive = dict.fromkeys(("intake", "credentials", "payment", "settlement", "notification"), 1)
        monkeypatch.setattr(doctor_inside, "_at_work", lambda _tx: (alive, 400.0))
        ((level, detail, _mend),) = told(doctor_inside.workers, given)
        assert (level, "400 s" in detail) == ("wrong", True)


def test_the_last_audit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ready()
    given = settings(home)
    assert [level for level, *_ in told(doctor_inside.audit, given)] == ["warning"]
    found: list[dict[str, Any]] = [{"invariant": "every_posting_balances"}]
    moment = datetime.now(UTC)
    for run, level in (
        (audit_runs.Run(moment, True, 53, [], 1.0), None),
        (audit_runs.Run(moment - timedelta(days=2), True, 53, [], 1.0), "warning"),
        (audit_runs.Run(moment, False, 53, found, 1.0), "wrong"),
    ):
        monkeypatch.setattr(audit_runs, "latest", lambda _tx, run=run: run)
        assert [one for one, *_ in told(doctor_inside.audit, given)] == ([] if level is None else [level])


def test_12306_and_the_cashier(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {"RAILWAY_URL": "https://kyfw.12306.cn", "CASHIER_URL": "https://cashier.example"}
    checks = (doctor_outside.railway, doctor_outside.cashier)
    assert [told(check, settings(home)) for check in checks] == [[], []]
    ((level, detail, _mend),) = told(doctor_outside.railway, settings(home, RAILWAY_URL=urls["RAILWAY_URL"]))
    assert (level, "DAIFU_CASHIER_URL" in detail) == ("wrong", True)

    class Away:
        async def probe(self) -> None:
            raise Unreachable("railway", "connection refused")

    class There:
        async def probe(self) -> None:
            """It answers."""

    monkeypatch.setattr(doctor_outside, "railway_of", lambda *_: (Away(), There()))
    ((level, _detail, mend),) = told(doctor_outside.railway, settings(home, **urls))
    assert (level, "curl" in mend) == ("unreachable", True)
    assert told(doctor_outside.cashier, settings(home, **urls)) == []


def test_callback_addresses_that_are_denied_or_that_nobody_answers(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ready()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        urls = [f"http://127.0.0.1:{there.getsockname()[1]}/" for there in (listening, taken)] + ["http://10.0.0.1/"]
        told_at = {f"agent{n}": url for n, url in enumerate(urls)}
        monkeypatch.setattr(agents, "addresses", lambda _tx: told_at)
        found = told(doctor_outside.callbacks, settings(home))
    assert [(level, detail) for level, detail, _mend in found] == [
        ("warning", "agent1: no connection (ConnectionRefusedError)"),
        ("warning", "agent2: the callback host leads to a denied address: private"),
    ]
    assert all("set-callback" in mend for _level, _detail, mend in found)


def test_exit_codes_and_words_for_people(home: Home) -> None:
    assert home.call("doctor").exit_code == 1
    assert "WRONG    password vault: no key ring" in home.call("doctor").output
    home.ready()
    shown = home.call("doctor")
    assert (shown.exit_code, "warning  audit" in shown.output) == (0, True)  # a warning alone is no failure
    away = home.call("doctor", "--json", DAIFU_BROKER_URL=PRODUCTION["BROKER_URL"])
    rows = json.loads(away.stdout)["checks"]
    assert (away.exit_code, {"name", "ok", "level", "detail", "mend"}) == (3, set(rows[0]))


def test_an_error_without_words_has_its_type(home: Home) -> None:
    def fails(_settings: Settings) -> Sequence[Finding]:
        raise BrokerUnavailable

    assert checked("it", fails, settings(home))[0]["detail"] == "BrokerUnavailable"
