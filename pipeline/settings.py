"""Every setting of every process: one typed class, read from the environment (prefix `DAIFU_`), refused at start by name.

Durations are seconds as floats. Names and defaults are those of INTERFACES section 2.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import UsageProblem
from pipeline.secret import Secret

PREFIX = "DAIFU_"
STANDARD_WEBHOOKS_S = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
SECRET_NAMES = frozenset({"AM_TOKEN"})
URLS_WITH_CREDENTIALS = frozenset({"BROKER_URL", "BROKER_MANAGEMENT_URL", "DATABASE_URL"})
#: Each of these may be given as `DAIFU_<NAME>_FILE` instead, the path of a file that holds the value: an environment is
#: seen by whoever may look at the container, a mounted secret is not.
IN_FILES = SECRET_NAMES | URLS_WITH_CREDENTIALS | {"VAULT_PUBLIC_KEY"}
FILE = "_FILE"

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SettingsError(UsageProblem):
    """A setting is wrong; the text names each one and says what is expected."""


class Settings(BaseModel):
    """What a process was told. Field names are the environment's, without prefix, in lower case."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, extra="forbid")

    home: Path = Path(".daifu")
    broker_url: str = "memory://"
    broker_management_url: str | None = None  # http(s)://user:password@host:15672, for `topology check` alone
    broker_socket: Literal["buffered", "stock"] = "buffered"  # stock: py-amqp's own; TLS always is
    database_url: str = ""
    traces: Literal["off", "otlp"] = "off"  # otlp: needs the extra `traces`; where to is told by OTEL_EXPORTER_OTLP_…
    log_level: Literal["info", "debug"] = "info"
    railway_url: str | None = None
    cashier_url: str | None = None
    http_listen: str = "127.0.0.1:8306"
    sandbox_listen: str = "127.0.0.1:8307"
    health_listen: str = "127.0.0.1:0"
    console_listen: str | None = None
    console_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()  # whose X-Forwarded-… count
    am_token: Secret | None = None
    vault_file: Path | None = None
    vault_public_key: str | None = None
    service_keys_file: Path | None = None
    need_pay_password_param: str = Field(default="pw", min_length=1)
    need_pay_signed: Literal["after_un", "no"] = "after_un"
    callback_allow_http: bool = False
    callback_allow_nets: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    presale_days: int = Field(default=20, gt=0)
    pii_days: int = Field(default=90, gt=0)
    four_eyes_fen: int = Field(default=500_000, ge=0)
    fund_warn_fen: int = Field(default=500_000, ge=0)  # less left in a procurement fund than this is low
    railway_rate: Rate | None = None
    railway_concurrency: int | None = Field(default=None, gt=0)
    cashier_rate: Rate | None = None
    cashier_concurrency: int | None = Field(default=None, gt=0)
    agent_rate: Rate = 1500.0  # requests per second and agent at the agents' interface
    address_rate: Rate = 3000.0  # requests per second and address at all doors and the console

    pay_timeout_s: Seconds = 30.0
    pay_margin_s: Seconds = 60.0
    pay_grace_s: Seconds = 300.0
    verify_window_s: Seconds = 86400.0
    submit_within_s: Seconds = 1200.0
    lease_s: Seconds = 120.0
    relay_patience_s: Seconds = 5.0
    order_wait_s: Seconds = 300.0
    drain_s: Seconds = 30.0
    repeat_window_s: Seconds = 120.0
    in_hand_retry_s: Seconds = 30.0
    intent_age_s: Seconds = 5.0
    list_retry_s: Seconds = 3.0
    audit_every_s: Seconds = 3600.0
    callback_schedule_s: tuple[Seconds, ...] = STANDARD_WEBHOOKS_S

    @field_validator("callback_schedule_s", "callback_allow_nets", "console_proxies", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("am_token", mode="before")
    @classmethod
    def _as_secret(cls, value: object) -> object:
        return Secret(value) if isinstance(value, str) else value

    @field_validator("http_listen", "sandbox_listen", "health_listen", "console_listen")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is not None:
            split_listen(value)
        return value

    @field_validator("railway_url", "cashier_url", "broker_management_url")
    @classmethod
    def _http_address(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("an http:// or https:// address is expected")
        return value.rstrip("/") if value else value

    @model_validator(mode="after")
    def _limits_fit_together(self) -> Settings:
        if self.lease_s <= self.pay_timeout_s:
            # A lease that ends while its payment call may still run would let a second worker ask meanwhile.
            raise ValueError("LEASE_S must be longer than PAY_TIMEOUT_S")
        return self

    @property
    def database(self) -> str:
        """The database URL; SQLite in HOME unless one was given."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'daifu.sqlite3'}"

    @property
    def vault_path(self) -> Path:
        """Key ring of the 12306 passwords; the payment worker's alone."""
        return self.vault_file or self.home / "vault.json"

    @property
    def service_keys_path(self) -> Path:
        """Key ring of merchant and callback keys, and of undecodable messages."""
        return self.service_keys_file or self.home / "service-keys.json"

    @property
    def embedded(self) -> bool:
        """True when the broker lives in this process."""
        return self.broker_url.startswith("memory://")


def split_listen(value: str) -> tuple[str, int]:
    """`host:port` as a pair. Raises ValueError."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("host:port is expected, for example 127.0.0.1:8306")
    return host.strip("[]"), int(port)


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment. Raises SettingsError naming every wrong or unknown `DAIFU_…` name."""
    source = os.environ if environment is None else environment
    source = {**{name: value for name, value in source.items() if name not in _FILE_NAMES}, **_from_files(source)}
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in source.items()
        if name.startswith(PREFIX) and not name.startswith("DAIFU_TEST_") and value != ""
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError("; ".join(_problem(item["loc"], item["msg"]) for item in error.errors())) from None


_FILE_NAMES = frozenset(f"{PREFIX}{name}{FILE}" for name in IN_FILES)


def _from_files(source: Mapping[str, str]) -> dict[str, str]:
    """The settings whose values lie in files. Raises SettingsError."""
    found = {}
    for file_name in sorted(_FILE_NAMES):
        path, name = source.get(file_name, ""), file_name.removesuffix(FILE)
        if not path:
            continue
        if source.get(name):
            raise SettingsError(f"{name} and {file_name} are both given: only one may be")
        try:
            value = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file_name}: {path} can't be read ({type(error).__name__})") from None
        if not value:
            raise SettingsError(f"{file_name}: {path} is empty")
        found[name] = value
    return found


def _problem(place: tuple[int | str, ...], message: str) -> str:
    name = f"{PREFIX}{str(place[0]).upper()}" if place else "settings"
    known = not place or str(place[0]) in Settings.model_fields
    return f"{name}: {message.removeprefix('Value error, ')}" if known else f"{name}: there is no such setting"


def shown(settings: Settings, environment: Mapping[str, str] | None = None) -> dict[str, dict[str, object]]:
    """`{name: {value, source}}` for `daifu settings`; secrets and credentials in URLs as `***`."""
    source = os.environ if environment is None else environment
    rows: dict[str, dict[str, object]] = {}
    for field in Settings.model_fields:
        name = field.upper()
        value = getattr(settings, field)
        if name in SECRET_NAMES and value is not None:
            value = "***"
        elif name in URLS_WITH_CREDENTIALS and urlsplit(str(value)).password:
            value = str(value).replace(f":{urlsplit(str(value)).password}@", ":***@")
        elif isinstance(value, tuple):
            value = ",".join(str(part) for part in value)
        elif isinstance(value, Path):
            value = str(value)
        in_file = name in IN_FILES and source.get(f"{PREFIX}{name}{FILE}")
        given = "environment" if source.get(PREFIX + name) else "default"
        rows[name] = {"value": value, "source": "file" if in_file else given}
    return rows
