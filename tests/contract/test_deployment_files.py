"""What `deploy/` holds of the code's own facts is written by the code, and is up to date."""

from __future__ import annotations

import base64
import hmac
import json
import re
from pathlib import Path

from pipeline.broker.definitions import definitions, password_hash, render
from pipeline.broker.rights import RIGHTS, user_of
from pipeline.broker.topology import STAGES
from pipeline.callback_form import CALL_TIMEOUT_S
from pipeline.cli.assembly import NOTIFICATION_PLACES, PAYMENT_PLACES
from pipeline.secret import Secret
from pipeline.settings import IN_FILES, Settings
from pipeline.store import grants
from pipeline.store.rights import APPEND_ONLY, ATTEMPTS, PEOPLE, ROLES, VERSION, role_of
from pipeline.store.tables import metadata
from pipeline.wake_ups import prefetch_of
from tests.contract.kustomize import load

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
(COMPOSE,) = load(DEPLOY / "compose.yaml")


def test_rabbitmqs_definitions_are_up_to_date() -> None:
    committed = (DEPLOY / "rabbitmq" / "definitions.json").read_text("utf-8")
    assert committed == render(definitions()), "run `daifu topology definitions > deploy/rabbitmq/definitions.json`"
    assert {user["password_hash"] for user in json.loads(committed)["users"]} == {""}


def test_postgresqls_roles_are_up_to_date() -> None:
    committed = (DEPLOY / "postgres" / "roles.sql").read_text("utf-8")
    assert committed == grants.script(), "run `daifu db roles --print > deploy/postgres/roles.sql`"


def test_a_password_is_hashed_as_rabbitmq_does() -> None:
    """https://www.rabbitmq.com/docs/passwords#computing-password-hash: the example of the manual."""
    hashed = password_hash(Secret("test12"), bytes.fromhex("908DC60A"))
    assert hashed == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_a_password_is_a_verifier_as_postgresql_makes_it() -> None:
    """RFC 7677's example: user `user`, password `pencil`."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    made = grants.verifier(Secret("pencil"), salt)
    assert re.fullmatch(r"SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$[\w+/=]{44}:[\w+/=]{44}", made)
    assert "pencil" not in made
    # The server signature of the RFC follows from the server key and the exchanged messages.
    said = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    server_key = base64.b64decode(made.rpartition(":")[2])
    signature = base64.b64encode(hmac.digest(server_key, said.encode(), "sha256")).decode()
    assert signature == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_every_process_has_a_user_and_a_role() -> None:
    processes = {*STAGES, "relay", "serve"}
    users = {rights.user for rights in RIGHTS}
    assert {user_of(it) for it in processes | {"am", "setup", "scaler"}} == users
    assert {role_of(it) for it in processes | {"operator", "scaler"}} == set(ROLES)


def test_the_three_lines_that_matter_most_hold_for_every_role() -> None:
    for role, given in ROLES.items():
        assert set(given) <= set(metadata.tables) | {VERSION}
        for table in APPEND_ONLY & set(given):
            assert set(given[table]) <= {"SELECT", "INSERT"}, (role, table)
        if role != role_of("payment"):
            writes = [it for it in given.get(ATTEMPTS, ()) if it != "SELECT"]
            assert all("submitted_at" not in it and it.startswith("UPDATE (") for it in writes), role
        if role not in (role_of("serve"), role_of("operator")):
            assert not PEOPLE & set(given), role


def test_compose_names_settings_that_exist_and_gives_no_secret_in_an_environment() -> None:
    known = {f"DAIFU_{name.upper()}" for name in Settings.model_fields} | {f"DAIFU_{name}_FILE" for name in IN_FILES}
    for name, service in COMPOSE["services"].items():
        environment = service.get("environment", {})
        assert {it for it in environment if it.startswith("DAIFU_")} <= known, name
        assert not {f"DAIFU_{it}" for it in IN_FILES} & set(environment), name


def test_an_empty_list_of_networks_that_callbacks_may_reach_stays_empty() -> None:
    """`${NAME:-default}` takes the default for an empty value too, and the network of compose would stay open."""
    assert COMPOSE["x-callbacks"]["DAIFU_CALLBACK_ALLOW_NETS"].startswith("${DAIFU_CALLBACK_ALLOW_NETS-")


def test_a_process_of_compose_has_its_own_secrets_and_only_its_networks() -> None:
    services = COMPOSE["services"]
    for process in (*STAGES, "relay", "serve", "operator", "am"):
        assert services[process]["volumes"] == [f"secrets-{process}:/secrets:ro"]
    outside = {name for name, service in services.items() if "outside" in service.get("networks", ())}
    assert outside == {"payment", "notification", "sandbox"}
    assert all(COMPOSE["networks"][it]["internal"] for it in ("broker", "database", "metrics"))
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), (name, port)


def test_the_page_of_capacity_says_how_much_one_worker_takes_in_hand() -> None:
    page = (DEPLOY / "docs" / "capacity.md").read_text("utf-8").replace("\n", " ")
    assert f"`P × seconds of one payment ÷ {PAYMENT_PLACES}`" in page
    assert (
        f"`P × seconds of one callback ÷ {NOTIFICATION_PLACES}`: agents that are slow to answer (up to {CALL_TIMEOUT_S:g} s)"
        in page
    )
    assert f"A worker takes {prefetch_of('intake')} messages at a time" in page


def test_the_image_is_built_from_what_dockerignore_lets_through_and_the_lock() -> None:
    text = (DEPLOY / "image" / "Dockerfile").read_text("utf-8")
    assert "--require-hashes" in text
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {name for name in re.findall(r"^COPY (?!--from)(.+) /src", text, re.MULTILINE) for name in name.split()}
    assert {name.removesuffix("*") for name in sources} == allowed
