"""`deploy/compose.yaml`, from nothing to a paid order, and what its parts may not do to each other."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.broker.topology import STAGES
from tests.containers.conftest import COMPOSE, PROJECT, Compose, until
from tests.contract.kustomize import load

ORDER = "xcslw141117203122003"


def test_the_file_is_valid_for_all_of_its_services(compose: Compose) -> None:
    (written,) = load(COMPOSE)
    assert set(compose.run("config", "--services").split()) >= set(written["services"]) - {"operator", "am"}


def test_what_only_the_sandbox_needs_can_be_switched_off(compose: Compose) -> None:
    said = compose.run("config", DAIFU_CALLBACK_ALLOW_HTTP="false", DAIFU_CALLBACK_ALLOW_NETS="")
    services = yaml.safe_load(said)["services"]
    for name in ("notification", "serve"):
        environment = services[name]["environment"]
        assert (environment["DAIFU_CALLBACK_ALLOW_HTTP"], environment["DAIFU_CALLBACK_ALLOW_NETS"]) == ("false", "")


def test_a_sample_order_goes_through_all_stages_and_the_audit_is_clean(compose: Compose) -> None:
    compose.script("sample-order.sh", ORDER)
    shown = compose.json("operator", "orders", "show", ORDER)
    assert (shown["state"], shown["outcome"], shown["pay_status"], shown["agent_told"]) == (
        "settled",
        "purchased",
        "1",
        True,
    )
    assert len([it for it in shown["attempts"] if it["submitted_at"]]) == 1
    assert compose.json("operator", "audit")["ok"] is True
    compose.script("sample-order.sh", f"{ORDER}9")


@pytest.mark.parametrize("process", [*STAGES, "relay"])
def test_doctor_beside_a_process_finds_nothing_wrong(compose: Compose, process: str) -> None:
    said = json.loads(compose.run("exec", "-T", process, "daifu", "doctor", "--json"))
    assert said["ok"]
    looked_at = {row["name"] for row in said["checks"] if row["detail"].endswith(("answers", "take a connection"))}
    assert looked_at == {"payment": {"12306", "cashier"}, "notification": {"callbacks"}}.get(process, set())


def test_what_the_operators_place_does_not_reach_is_typed_beside_the_process_that_does(compose: Compose) -> None:
    assert json.loads(compose.daifu("operator", "doctor", "--json"))["ok"]
    assert compose.run("run", "--rm", "--no-deps", "-T", "setup", "daifu topology check")
    tried = compose.run("exec", "-T", "notification", "daifu", "callbacks", "test", "xcslw", "--by", "test", "--json")
    assert json.loads(tried)["delivered"] is True


def test_doing_the_setup_again_changes_nothing(compose: Compose) -> None:
    compose.run("run", "--rm", "-T", "secrets")
    compose.run("run", "--rm", "-T", "setup")
    compose.script("sample-order.sh", f"{ORDER}8")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_sees_its_own_secrets_alone(compose: Compose, engine: Any, stage: str) -> None:
    container = compose.containers(engine)[stage]
    found = set(container.exec_run(["ls", "/secrets"]).output.decode().split())
    rings = {"payment": {"vault.json"}, "intake": {"service-keys.json"}, "notification": {"service-keys.json"}}
    assert found == {"broker-url", "database-url"} | rings.get(stage, set())
    assert "PASSWORD" not in str(container.attrs["Config"]["Env"])
    assert "@" not in str(container.attrs["Config"]["Env"]), "no address with credentials"


REACHES = (
    # from, to, port, whether
    ("credentials", "postgres", 5432, True),
    ("credentials", "rabbitmq", 5672, True),
    ("credentials", "sandbox", 8307, False),
    ("payment", "sandbox", 8307, True),
    ("sandbox", "postgres", 5432, False),
    ("sandbox", "rabbitmq", 5672, False),
    ("serve", "sandbox", 8307, False),
)


@pytest.mark.parametrize(("origin", "target", "port", "whether"), REACHES)
def test_only_what_must_talk_talks(
    compose: Compose, engine: Any, origin: str, target: str, port: int, *, whether: bool
) -> None:
    code = f"import socket; socket.create_connection(('{target}', {port}), 5)"
    done = compose.containers(engine)[origin].exec_run(["/opt/daifu/bin/python", "-c", code])
    assert (done.exit_code == 0) is whether, done.output


def test_no_container_of_ours_runs_as_root_or_may_write_its_disk(compose: Compose, engine: Any) -> None:
    found = compose.containers(engine)
    assert set(found) == {*compose.SERVICES, "rabbitmq", "postgres"}
    for name in compose.SERVICES:
        assert found[name].attrs["HostConfig"]["ReadonlyRootfs"], name
        assert found[name].attrs["HostConfig"]["CapDrop"] == ["ALL"], name
    assert all(found[name].attrs["Config"]["User"] == "10001:10001" for name in compose.OURS)
    assert all(it.name.startswith(PROJECT) for it in found.values())


def test_prometheus_scrapes_every_process_once_and_judges_every_alert(compose: Compose) -> None:
    written = {
        rule["alert"]
        for group in load(COMPOSE.parent / "prometheus" / "alerts.yaml")[0]["groups"]
        for rule in group["rules"]
    }
    watched = sorted(set(compose.OURS) - {"sandbox"})

    def all_up() -> list[dict[str, Any]] | None:
        targets: list[dict[str, Any]] = prometheus("targets")["activeTargets"]
        return targets if len(targets) >= len(watched) and all(it["health"] == "up" for it in targets) else None

    targets = until("every target is up", all_up)
    assert sorted(it["discoveredLabels"]["__meta_dns_name"] for it in targets) == watched

    def all_judged() -> list[dict[str, Any]] | None:
        rules: list[dict[str, Any]] = [rule for group in prometheus("rules")["groups"] for rule in group["rules"]]
        return rules if rules and all(rule["health"] == "ok" for rule in rules) else None

    rules = until("every alert was judged", all_judged)
    assert {rule["name"] for rule in rules} == written
    firing = {rule["name"] for rule in rules if rule["state"] == "firing" and rule["labels"]["severity"] == "page"}
    assert not firing


def prometheus(what: str) -> Any:
    """What Prometheus says of its `targets` or `rules`, on the port that compose.yaml gives it."""
    with urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/{what}", timeout=30) as answer:
        return json.load(answer)["data"]


def test_a_backup_is_restored_beside_the_live_one_and_its_audit_is_clean(compose: Compose, tmp_path: Path) -> None:
    """The documented commands, while everything runs; then the audit and the first step of a recovery on the copy."""
    compose.script("sample-order.sh", f"{ORDER}7")
    inside = ["exec", "-T", "postgres", "sh", "-c"]
    login = "export PGHOST=127.0.0.1 PGUSER=daifu PGPASSWORD=$(cat /secrets/password); set --"
    dumped = compose.run(*inside, f"{login} daifu; {_script('backup.sh')} | base64")
    compose.run(*inside, f"{login} copy; base64 -d | {{ {_script('restore.sh')}; }}", stdin=dumped)
    # The same process, pointed at the copy.
    on_copy = (
        "export DAIFU_DATABASE_URL=$(sed 's,/daifu$,/copy,' $DAIFU_DATABASE_URL_FILE); unset DAIFU_DATABASE_URL_FILE; "
        "daifu audit --json && daifu orders show {order} --json && daifu recover --since {since} --by test --json"
    )
    since = datetime.now(UTC).isoformat()
    command = on_copy.format(order=f"{ORDER}7", since=since)
    said = compose.run("run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "operator", "-c", command)
    audit, order, recovery = (json.loads(line) for line in said.splitlines() if line.startswith("{"))
    assert audit["ok"] is True
    assert order["state"] == "settled"
    assert recovery["paying_paused_since"] is not None
    # The live one pays on.
    compose.script("sample-order.sh", f"{ORDER}6")


def _script(name: str) -> str:
    """What a script of `deploy/postgres` does after its checks, to be run where the database's own tools are."""
    lines = (COMPOSE.parent / "postgres" / name).read_text().splitlines()
    return "; ".join(line.removeprefix("exec ") for line in lines if line and not line.startswith(("#", "set ")))
