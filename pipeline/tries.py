"""Guessing is counted: a try at a password or a code is written down in the database before it is looked at."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import DaifuError
from pipeline.store import sign_in_tries
from pipeline.store.engine import Store

WINDOW_S = 900.0
TRIES_BOTH, TRIES_NAME, TRIES_ADDRESS, TRIES_CODE = 5, 20, 50, 5


class TooManyTries(DaifuError):
    """Nothing was looked at: too many wrong tries within WINDOW_S."""


class Limits(NamedTuple):
    """Wrong tries within WINDOW_S: of one name from one address, of one name, of one address. The second does not hold where the
    name came in from not long ago: else anybody could lock a person out from elsewhere."""

    both: int
    name: int
    address: int = TRIES_ADDRESS


PASSWORD = Limits(TRIES_BOTH, TRIES_NAME)
CODE = Limits(TRIES_CODE, TRIES_CODE)


def begin(store: Store, kind: str, key: str, address: str, limits: Limits) -> int:
    """Count a try as wrong until `sign_in_tries.passed` says otherwise; its id. `key`: the digest of whom it is about.

    Raises TooManyTries.
    """
    attempt = store.write(lambda tx: sign_in_tries.add(tx, kind, key, address)).value
    seen = store.read(lambda tx: sign_in_tries.counts(tx, kind, key, address, WINDOW_S))
    many = seen.name > limits.name and not seen.known
    if many or seen.both > limits.both or seen.address > limits.address:
        store.write(lambda tx: sign_in_tries.refused(tx, attempt))
        raise TooManyTries
    return attempt
