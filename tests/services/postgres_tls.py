"""A private PostgreSQL that takes connections over TLS only. The wheel's is built without TLS, so it is Debian's."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from tests.services.debian import install
from tests.services.errors import ProviderUnavailable, ServiceFailed
from tests.services.postgres_private import PrivateServer
from tests.services.tls import Certificate

DEBIAN = Path("/usr/lib/postgresql")
SETTINGS = "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n"


def find_debian_binaries(announce: Callable[[str], None]) -> Path:
    """The newest; installed where there is none. Raises ServiceFailed."""
    if not _found():
        try:
            install(announce, "PostgreSQL with TLS", "postgresql")
        except ProviderUnavailable as reason:
            raise ServiceFailed(f"no PostgreSQL with TLS ({reason}): install Debian's package `postgresql`") from reason
    return _found()[-1]


def _found() -> list[Path]:
    return sorted((path.parent for path in DEBIAN.glob("*/bin/postgres")), key=lambda path: float(path.parent.name))


class TlsServer(PrivateServer):
    """`url` is that of its superuser without TLS settings: who uses it adds sslmode and sslrootcert."""

    def __init__(self, binaries: Path, tls: Certificate) -> None:
        super().__init__("private server of Debian's PostgreSQL", binaries)
        self._data = self.folder / "data"
        self._install(tls)
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)
        rules = self._data / "pg_hba.conf"
        rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")

    def _install(self, tls: Certificate) -> None:
        for source, name in ((tls.certificate, "server.pem"), (tls.key, "server.key")):
            path = self._data / name
            path.unlink(missing_ok=True)
            shutil.copyfile(source, path)
            path.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(path, "nobody")

    def change_certificate(self, tls: Certificate) -> None:
        """From now on it shows this one: a reload, as an administrator does it."""
        self._install(tls)
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGHUP)
