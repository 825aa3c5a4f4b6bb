"""Settings: defaults of INTERFACES section 2, and every wrong one refused at start by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings import STANDARD_WEBHOOKS_S, SettingsError, read, shown, split_listen

SECONDS = {
    "PAY_TIMEOUT_S": 30,
    "PAY_MARGIN_S": 60,
    "PAY_GRACE_S": 300,
    "VERIFY_WINDOW_S": 86400,
    "SUBMIT_WITHIN_S": 1200,
    "LEASE_S": 120,
    "RELAY_PATIENCE_S": 5,
    "ORDER_WAIT_S": 300,
    "DRAIN_S": 30,
    "REPEAT_WINDOW_S": 120,
    "IN_HAND_RETRY_S": 30,
    "INTENT_AGE_S": 5,
    "LIST_RETRY_S": 3,
    "AUDIT_EVERY_S": 3600,
}
# One wrong value or more for every setting that can be wrong.
WRONG = {
    **{name: ["0", "-1", "soon", "nan", "inf"] for name in SECONDS},
    "CALLBACK_SCHEDULE_S": ["5,0", "5,x", "-1"],
    "CALLBACK_ALLOW_NETS": ["10.0.0.0/33", "home"],
    "CALLBACK_ALLOW_HTTP": ["perhaps"],
    "HTTP_LISTEN": ["8306", "127.0.0.1", "127.0.0.1:http", ":8306", "127.0.0.1:65536"],
    "SANDBOX_LISTEN": ["8307"],
    "HEALTH_LISTEN": ["x"],
    "CONSOLE_LISTEN": ["x"],
    "RAILWAY_URL": ["12306.example", "ftp://12306.example"],
    "CASHIER_URL": ["cashier"],
    "NEED_PAY_SIGNED": ["before_un"],
    "PRESALE_DAYS": ["0", "1.5"],
    "PII_DAYS": ["0", "x"],
    "FOUR_EYES_FEN": ["-1", "1.5"],
    "RAILWAY_RATE": ["0", "x", "inf"],
    "CASHIER_RATE": ["-1"],
    "RAILWAY_CONCURRENCY": ["0", "1.5"],
    "CASHIER_CONCURRENCY": ["x"],
}


def given(**values: str) -> dict[str, str]:
    return {f"DAIFU_{name}": value for name, value in values.items()}


def test_nothing_needs_to_be_set() -> None:
    settings = read({})
    assert settings.broker_url == "memory://"
    assert settings.embedded
    assert settings.database.startswith("sqlite:///")
    assert settings.database.endswith(".daifu/daifu.sqlite3")
    assert (settings.http_listen, settings.sandbox_listen, settings.health_listen) == (
        "127.0.0.1:8306",
        "127.0.0.1:8307",
        "127.0.0.1:0",
    )
    assert settings.callback_schedule_s == STANDARD_WEBHOOKS_S
    assert (settings.need_pay_password_param, settings.need_pay_signed) == ("pw", "after_un")


@pytest.mark.parametrize(("name", "default"), SECONDS.items())
def test_every_duration_has_its_default_and_takes_fractions(name: str, default: float) -> None:
    assert getattr(read({}), name.lower()) == default
    others = {"PAY_TIMEOUT_S": "0.1"} if name == "LEASE_S" else {"LEASE_S": "1"} | {"PAY_TIMEOUT_S": "0.2"}
    assert getattr(read(given(**others | {name: "0.25"})), name.lower()) == 0.25


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"DAIFU_{name}: "):
        read(given(**{name: value}))


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read(given(PAY_GRACE_S="x", PII_DAYS="0", HTTP_LISTEN="1"))
    assert all(f"DAIFU_{name}: " in str(caught.value) for name in ("PAY_GRACE_S", "PII_DAYS", "HTTP_LISTEN"))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="DAIFU_PAY_TIMEOUT: there is no such setting"):
        read(given(PAY_TIMEOUT="30"))


def test_what_is_for_the_tests_or_for_others_is_left_alone() -> None:
    settings = read({"DAIFU_TEST_BROKER_URL": "amqp://x", "PATH": "/bin", "DAIFU_PII_DAYS": ""})
    assert settings.pii_days == read({}).pii_days, "an empty value is no value"


@pytest.mark.parametrize(("lease", "timeout"), [("30", "30"), ("29.9", "30"), ("0.2", "0.2")])
def test_a_lease_that_does_not_outlast_a_payment_call_is_refused(lease: str, timeout: str) -> None:
    with pytest.raises(SettingsError, match="LEASE_S must be longer than PAY_TIMEOUT_S"):
        read(given(LEASE_S=lease, PAY_TIMEOUT_S=timeout))


def test_lists_are_written_with_commas() -> None:
    settings = read(given(CALLBACK_SCHEDULE_S="1, 2.5,10", CALLBACK_ALLOW_NETS="127.0.0.0/8, ::1/128"))
    assert settings.callback_schedule_s == (1.0, 2.5, 10.0)
    assert [str(net) for net in settings.callback_allow_nets] == ["127.0.0.0/8", "::1/128"]


def test_files_live_in_home_unless_said_otherwise() -> None:
    settings = read(given(HOME="/srv/daifu", VAULT_FILE="/keys/vault.json"))
    assert settings.vault_path == Path("/keys/vault.json")
    assert settings.service_keys_path == Path("/srv/daifu/service-keys.json")
    assert settings.database == "sqlite:////srv/daifu/daifu.sqlite3"


def test_settings_are_shown_with_their_source_and_without_secrets() -> None:
    environment = given(
        AM_TOKEN="canary-token",
        BROKER_URL="amqp://daifu:canary-broker@127.0.0.1/",
        DATABASE_URL="postgresql://daifu:canary-base@127.0.0.1/daifu",
        PII_DAYS="7",
    )
    rows = shown(read(environment), environment)
    assert rows["AM_TOKEN"] == {"value": "***", "source": "environment"}
    assert rows["BROKER_URL"]["value"] == "amqp://daifu:***@127.0.0.1/"
    assert rows["PII_DAYS"] == {"value": 7, "source": "environment"}
    assert rows["LEASE_S"] == {"value": 120.0, "source": "default"}
    assert "canary" not in str(rows)


def test_no_secret_is_told_by_an_error_nor_by_a_repr() -> None:
    environment = given(AM_TOKEN="canary-token", BROKER_URL="amqp://daifu:canary-broker@127.0.0.1/")
    assert "canary-token" not in repr(read(environment))
    with pytest.raises(SettingsError) as caught:
        read(environment | given(PII_DAYS="x", HTTP_LISTEN="canary-listen"))
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "pair"),
    [("127.0.0.1:8306", ("127.0.0.1", 8306)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_an_address_is_host_and_port(text: str, pair: tuple[str, int]) -> None:
    assert split_listen(text) == pair
