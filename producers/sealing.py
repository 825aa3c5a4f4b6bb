"""Passwords are sealed where they enter. A request that is sent again gets the box of the first time: sealing is the dearest
thing the door does, and clients repeat by the thousand."""

from __future__ import annotations

from collections import OrderedDict

from pipeline.secret import Secret
from pipeline.vault import PublicKey

MAX_KEPT = 4_096


class Sealer:
    """Seals under the vault's public key. Keeps boxes by the keyed digest of what they came with, never what is in them."""

    def __init__(self, vault_key: PublicKey) -> None:
        self._vault_key = vault_key
        self._kept: OrderedDict[str, str] = OrderedDict()

    def seal(self, password: Secret, digest: str) -> str:
        """The box around `password`; `digest` must depend on the password."""
        box = self._kept.get(digest)
        if box is None:
            box = self._kept[digest] = self._vault_key.seal(password)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return box
