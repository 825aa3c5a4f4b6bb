"""`daifu secrets`: every process's own folder, written once, printed never; and settings that lie in files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from pipeline.broker.rights import RIGHTS, user_of
from pipeline.cli import main
from pipeline.settings import SettingsError, read, shown
from pipeline.store.rights import ROLES, role_of
from pipeline.vault import KeyRing, PublicKey, VaultError

BROKER, DATABASE = "amqp://mq.example:5672/daifu", "postgresql://db.example:5432/daifu"


def make(folder: Path, *more: str) -> Result:
    arguments = ["secrets", str(folder), "--broker", BROKER, "--database", DATABASE, "--json", *more]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_process_gets_its_own_and_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    done = make(tmp_path, "--management", "http://mq.example:15672")
    made = contents(tmp_path)
    assert done.exit_code == 0
    assert {f"{row['process']}/{row['file']}" for row in json.loads(done.stdout) if row["created"]} == set(made)
    for rights in RIGHTS:
        url = urlsplit(made[f"{rights.user.removeprefix(user_of(''))}/broker-url"])
        assert (url.username, url.hostname, url.path) == (rights.user, "mq.example", "/daifu")
    for role in ROLES:
        assert urlsplit(made[f"{role.removeprefix(role_of(''))}/database-url"]).username == role
    passwords = [
        urlsplit(text).password for name, text in made.items() if name.endswith("-url") and "management" not in name
    ]
    assert len(set(passwords)) == len(passwords)
    assert min(len(it or "") for it in passwords) >= 40
    assert not [it for it in passwords if it and it in done.output]
    again = make(tmp_path, "--management", "http://mq.example:15672")
    assert contents(tmp_path) == made
    assert not [row for row in json.loads(again.stdout) if row["created"]]


def test_the_two_rings_are_where_they_belong_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    make(tmp_path)
    passwords = KeyRing.load(tmp_path / "payment" / "vault.json")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("vault.json")] == ["payment/vault.json"]
    assert PublicKey.parse((tmp_path / "serve" / "vault-public-key").read_text()) == passwords.public
    holders = {path.parent.name for path in tmp_path.rglob("service-keys.json")}
    assert holders == {"intake", "notification", "relay", "serve", "operator"}
    assert len({KeyRing.load(tmp_path / it / "service-keys.json").public for it in holders}) == 1
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.parent.name not in ("rabbitmq", "postgres"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    # What a server reads as a user of its own holds no password but its owner's.
    assert "password_hash" in (tmp_path / "rabbitmq" / "definitions.json").read_text()


def test_a_lost_file_is_made_anew_and_the_users_hash_follows(tmp_path: Path) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "payment" / "broker-url").unlink()
    (tmp_path / "rabbitmq" / "definitions.json").unlink()
    make(tmp_path)
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {
        "payment/broker-url",
        "rabbitmq/definitions.json",
    }


@pytest.mark.parametrize("url", ["amqp://somebody:known@mq.example/daifu", "http://mq.example"])
def test_an_address_with_a_user_or_of_another_kind_is_refused(tmp_path: Path, url: str) -> None:
    done = CliRunner().invoke(main, ["secrets", str(tmp_path / "s"), "--broker", url, "--database", DATABASE])
    assert done.exit_code == 2
    assert "known" not in done.output


def test_a_setting_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "broker-url"
    path.write_text("amqp://u:very-secret@mq.example/daifu\n")
    environment = {"DAIFU_BROKER_URL_FILE": str(path)}
    settings = read(environment)
    assert settings.broker_url == "amqp://u:very-secret@mq.example/daifu"
    assert shown(settings, environment)["BROKER_URL"] == {"value": "amqp://u:***@mq.example/daifu", "source": "file"}
    with pytest.raises(SettingsError, match=r"DAIFU_BROKER_URL and DAIFU_BROKER_URL_FILE are both given"):
        read({**environment, "DAIFU_BROKER_URL": "memory://"})


@pytest.mark.parametrize(("content", "said"), [(None, "can't be read"), (" \n", "is empty")])
def test_a_file_that_says_nothing_is_refused_by_name(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=f"DAIFU_AM_TOKEN_FILE: .* {said}"):
        read({"DAIFU_AM_TOKEN_FILE": str(path)})


def test_only_what_is_secret_or_generated_has_a_file() -> None:
    with pytest.raises(SettingsError, match="there is no such setting"):
        read({"DAIFU_DRAIN_S_FILE": "/x"})


def test_a_ring_that_kubernetes_mounts_is_roots_and_readable_for_our_group_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ring.json"
    KeyRing.generate().save(path)
    path.chmod(0o440)
    if path.stat().st_uid == 0 == os.geteuid():  # root's own file: it need not be the group's too
        with pytest.raises(VaultError, match="mode is 0440"):
            KeyRing.load(path)
    owner = path.stat().st_uid
    monkeypatch.setattr(
        "pipeline.vault.os.fstat", lambda _fd: os.stat_result((0o100440, 0, 0, 1, 0, 10001, 0, 0, 0, 0))
    )
    monkeypatch.setattr("pipeline.vault.os.geteuid", lambda: 10001)
    KeyRing.load(path)
    monkeypatch.setattr(
        "pipeline.vault.os.fstat", lambda _fd: os.stat_result((0o100444, 0, 0, 1, 0, 10001, 0, 0, 0, 0))
    )
    with pytest.raises(VaultError, match="mode is 0444"):
        KeyRing.load(path)
    assert owner == path.stat().st_uid
