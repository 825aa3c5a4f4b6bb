"""What stands on a callback: the form that agents' programs check, and the signature of Standard Webhooks beside it."""

from __future__ import annotations

from urllib.parse import parse_qs

from pipeline.callback_form import signed_body, webhook_headers
from pipeline.secret import Secret
from schemas.tts_signature import is_signed

# The example that the documents of Standard Webhooks and Svix show.
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_signature_is_that_of_standard_webhooks() -> None:
    headers = webhook_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [Secret(SECRET)])
    assert headers["webhook-signature"] == SIGNED
    changed = webhook_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265331, b'{"test": 2432232314}', [Secret(SECRET)])
    assert changed["webhook-signature"] != SIGNED


def test_the_form_is_signed_as_agents_check_it() -> None:
    form = {name: value for name, (value,) in parse_qs(signed_body("xcslw1", "xcslw", "1", Secret("key"))).items()}
    assert set(form) == {"orderNo", "payStatus", "HMAC"}
    assert is_signed(form["HMAC"], "key", ["xcslw", form["orderNo"], form["payStatus"]])
    assert not is_signed(form["HMAC"], "key", ["xcslw", form["orderNo"], "3"])
