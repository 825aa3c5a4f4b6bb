"""代付设置: the one 12306 password of all of an agent's accounts, changed by the agent itself or set anew by staff.

An agent's own people prove by 原密码 that they may; its tries are counted like those to sign in. Staff needs none and must not
ask for it, since nobody has to tell anybody a password: staff gives a reason instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pipeline import tries
from pipeline.operations_agents import check_password, load_agent
from pipeline.operations_errors import Refused, person, words_of
from pipeline.passwords import Passwords
from pipeline.secret import Secret
from pipeline.store import agents, history, sign_in_tries
from pipeline.store.engine import Presence, Store, Transaction, present
from pipeline.vault import Sealer

KIND = "payment"  # of the tries at 原密码, apart from those to sign in


class PaymentPasswords:
    """Changes unified passwords. Its methods block for as long as argon2id takes, outside any transaction."""

    def __init__(self, store: Store, passwords: Passwords, vault_key: Sealer) -> None:
        self._store, self._passwords, self._vault_key = store, passwords, vault_key

    def change(self, code: str, old: Secret, new: Secret, presence: Presence, actor: str) -> None:
        """The agent's own act. Where no password was set yet there is no 原密码 to tell.

        Raises NotFound, Refused, TooManyTries.
        """
        check_password(new)
        known = self._store.read(lambda tx: load_agent(tx, code)).password_hash
        attempt = tries.begin(self._store, KIND, _key(code), presence.origin, tries.PASSWORD)
        if known is not None and not self._passwords.fits(known, old):
            self._write(presence, lambda tx: _refused(tx, code, actor))
            raise Refused("wrong_password", "原密码不对")
        sealed, digest = self._vault_key.seal(new), self._passwords.digest(new)

        def work(tx: Transaction) -> None:
            if not agents.change_password(tx, code, sealed, digest, known):
                raise Refused("changed_meanwhile", "密码刚刚被改过, 请用现在的密码再试")
            sign_in_tries.passed(tx, attempt)
            history.audit(tx, person(actor), agents.SET_PASSWORD, code)

        self._write(presence, work)

    def reset(self, code: str, new: Secret, reason: str, presence: Presence, actor: str) -> None:
        """Staff's act in the agent's place; tries at 原密码 start afresh. Raises NotFound, Refused."""
        check_password(new)
        words = words_of(reason, "理由")
        sealed, digest = self._vault_key.seal(new), self._passwords.digest(new)

        def work(tx: Transaction) -> None:
            load_agent(tx, code)
            agents.set_password(tx, code, sealed, digest)
            sign_in_tries.forget(tx, _key(code))
            history.audit(tx, person(actor), agents.SET_PASSWORD, code, reason=words)

        self._write(presence, work)

    def _write(self, presence: Presence, work: Callable[[Transaction], None]) -> None:
        self._store.write(present(presence, work))


def _refused(tx: Transaction, code: str, actor: str) -> None:
    history.audit(tx, person(actor), agents.SET_PASSWORD, code, result="refused", why="原密码不对")


def _key(code: str) -> str:
    return hashlib.sha256(f"agent {code}".encode()).hexdigest()
