"""A certification authority of a test's own, by the `openssl` command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.services.errors import ServiceFailed


class Certificate(NamedTuple):
    """Files: the authority that issued it, the certificate, its private key."""

    authority: Path
    certificate: Path
    key: Path


class Authority:
    """Issues certificates into `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            raise ServiceFailed("no openssl command: install the package `openssl`")
        self._folder, self._name = folder, name
        self.file = folder / f"{name}.pem"
        _openssl(
            "req", "-x509", *_key(folder / f"{name}.key"), "-out", str(self.file), "-days", "2", "-subj", f"/CN={name}"
        )  # fmt: skip

    def issue(self, name: str, host: str, *, days: int = 2) -> Certificate:
        """For that DNS name; with negative `days` it has run out."""
        key, request, signed = (self._folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        names = self._folder / f"{name}.names"
        names.write_text(f"subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\n")
        _openssl("req", *_key(key), "-out", str(request), "-subj", f"/CN={host}")
        _openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.file), "-CAkey", str(self._folder / f"{self._name}.key"),
            "-CAcreateserial", "-days", str(days), "-extfile", str(names), "-out", str(signed),
        )  # fmt: skip
        return Certificate(self.file, signed, key)


def _key(path: Path) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path)]


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceFailed(f"openssl {arguments[0]}: {done.stderr[-500:]}")
