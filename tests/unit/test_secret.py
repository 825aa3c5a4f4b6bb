"""A secret is seen by whoever asks for it by name, and by nobody else."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import traceback

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticSerializationError, to_json

from pipeline.secret import Secret

CANARY = "canary-4711"


class Held(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    password: Secret


@dataclasses.dataclass
class Row:
    password: Secret


def test_reveal_gives_the_text_and_the_bytes() -> None:
    assert Secret("密码").reveal() == "密码"
    assert Secret("密码").reveal_bytes() == "密码".encode()
    assert Secret(b"\xff\x00").reveal_bytes() == b"\xff\x00"
    assert Secret(b"abc").reveal() == "abc"


def test_bytes_that_are_no_text_are_not_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"^the secret is not UTF-8 text$") as caught:
        Secret(b"\xff" + CANARY.encode()).reveal()
    assert caught.value.__context__ is None


def test_nothing_that_shows_objects_shows_it() -> None:
    secret = Secret(CANARY)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>30}",
        format(secret, "20"),
        "%s %r" % (secret, secret),  # noqa: UP031 - the old way must mask too
        ascii(secret),
        repr([secret]),
        repr(Row(secret)),
        repr(dataclasses.asdict(Row(secret))),
        repr(Held(password=secret)),
        repr(Held(password=secret).model_dump()),
        repr(dir(secret)),
        json.dumps({"password": secret}, default=str),
    ]
    assert all(CANARY not in text for text in shown)
    assert (str(secret), repr(secret)) == ("***", "Secret(***)")


def test_whatever_serialises_objects_fails() -> None:
    secret = Secret(CANARY)
    with pytest.raises(TypeError):
        json.dumps(secret)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="serialised"):
            pickle.dumps(secret, protocol)
    with pytest.raises(TypeError, match="serialised"):
        pickle.dumps(Row(secret))
    with pytest.raises(TypeError, match="serialised"):
        secret.__getstate__()
    with pytest.raises(PydanticSerializationError):
        Held(password=secret).model_dump_json()
    with pytest.raises(PydanticSerializationError):
        to_json({"password": secret})
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(TypeError):
        bytes(secret)  # type: ignore[call-overload]  # what a type checker forbids must fail as well
    with pytest.raises(TypeError):
        list(secret)  # type: ignore[call-overload]  # as above


def test_a_copy_is_the_secret_itself() -> None:
    secret = Secret(CANARY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"password": [secret]})["password"][0] is secret


def test_a_traceback_with_its_locals_hides_it() -> None:
    def fails(password: Secret) -> None:
        raise RuntimeError(f"can't log in with {password}")

    with pytest.raises(RuntimeError) as caught:
        fails(Secret("canary" + "-4711"))
    told = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert CANARY not in told.replace("CANARY = 'canary-4711'", "")


def test_equal_contents_are_equal_whatever_they_were_made_of() -> None:
    assert Secret("abc") == Secret(b"abc")
    assert Secret("abc") != Secret("abd")
    assert Secret("") != Secret("abc")
    assert (Secret("abc") == "abc") is False


def test_a_secret_has_no_hash_and_an_empty_one_is_false() -> None:
    with pytest.raises(TypeError):
        hash(Secret("abc"))
    assert Secret("abc")
    assert not Secret("")


def test_a_secret_can_not_be_changed() -> None:
    secret = Secret("abc")
    with pytest.raises(AttributeError):
        secret._content = b"x"
    with pytest.raises(AttributeError):
        del secret._content
    assert secret.reveal() == "abc"
