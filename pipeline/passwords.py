"""Passwords of the console's people: what a good one is, and argon2id (OWASP ASVS 5.0, 6.2 and 11.4)."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pipeline.operations_errors import Refused
from pipeline.secret import Secret

SHORTEST, LONGEST = 10, 128
# Words that anybody would try here first, beside the user's own name.
CONTEXT = ("daifu", "代付", "12306", "chupiao", "huoche", "agent", "operator", "supervisor")
FEWEST_OWN = 5  # characters that are none of these words
STRONG_ENOUGH = 3  # of 4: more than 10**8 guesses
ESTIMATED = 72  # characters that are looked at; whoever knows more of them is no worse off
AT_ONCE = 2  # argon2id takes 64 MiB and a core each time


class Passwords:
    """Hashes and checks, few at a time, so that a flood of sign-ins takes neither memory nor cores from payments."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._nobody = ""  # a hash to check where there is no user: both cases take the same time

    def digest(self, password: Secret) -> str:
        """The argon2id hash."""
        with self._places:
            return self._hasher.hash(password.reveal_bytes())

    def fits(self, digest: str | None, password: Secret) -> bool:
        """Whether it is the password of this hash; None: nobody's, found out in the same time."""
        if not self._nobody:
            self._nobody = self.digest(Secret("nobody's password"))
        with self._places:
            try:
                fits = self._hasher.verify(digest or self._nobody, password.reveal_bytes())
            except (VerificationError, InvalidHashError):
                return False
        return fits and digest is not None


def check_new(name: str, password: Secret) -> None:
    """Raises Refused for one that is too short, or among the first that anybody would guess: zxcvbn knows the 30,000 passwords
    found most often in leaks, words, names, keyboard walks, dates, and what is made of them."""
    text = password.reveal()
    if not SHORTEST <= len(text) <= LONGEST:
        raise Refused("weak_password", f"密码需要 {SHORTEST} 至 {LONGEST} 个字符")
    from zxcvbn import (
        zxcvbn,
    )  # its word lists take a tenth of a second and some megabytes: for the few who set a password

    own = text.lower()
    for word in filter(None, (*CONTEXT, name.lower())):
        own = own.replace(word, "")
    if len(own) < FEWEST_OWN or zxcvbn(text[:ESTIMATED], user_inputs=[*CONTEXT, name])["score"] < STRONG_ENOUGH:
        raise Refused("weak_password", "密码太容易猜到: 不要用常见密码、常见词、用户名或键盘顺序拼成")
