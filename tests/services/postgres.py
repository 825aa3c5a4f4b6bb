"""What every provider of a PostgreSQL gives the tests, and the one that somebody else runs."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from contextlib import closing

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from tests.services.errors import NotOurs, ServiceFailed

OLDEST = 14
DRIVER = "postgresql+psycopg"


class PostgresServer(ABC):
    """A PostgreSQL server. `provider` says where it is from, `version` is what it calls itself."""

    def __init__(self, provider: str, maintenance: URL) -> None:
        self.provider = provider
        self.version = ""
        self._maintenance = maintenance.set(drivername=DRIVER)

    def url(self, database: str | None = None) -> str:
        """The SQLAlchemy URL (`postgresql+psycopg://…`) of a database; without a name, of the one that is always there."""
        url = self._maintenance if database is None else self._maintenance.set(database=database)
        return url.render_as_string(hide_password=False)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        dsn = self._maintenance.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(dsn, autocommit=True, connect_timeout=10)

    def create_database(self) -> str:
        """A new, empty database; its name."""
        name = f"daifu_test_{secrets.token_hex(6)}"
        with closing(self._connect()) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def drop_database(self, name: str) -> None:
        """Whoever is still connected to it is disconnected."""
        with closing(self._connect()) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def setting(self, name: str) -> str:
        with closing(self._connect()) as connection:
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
        return str(row[0]) if row else ""

    def ready(self) -> bool:
        try:
            self.version = self.setting("server_version").split(" ")[0]
        except psycopg.OperationalError:
            return False
        return True

    def require_version(self) -> None:
        """Raises ServiceFailed for a PostgreSQL older than 14, the oldest that daifu supports."""
        if int(self.version.split(".")[0]) < OLDEST:
            raise ServiceFailed(f"PostgreSQL {self.version} ({self.provider}) is older than {OLDEST}: use a newer one")

    @abstractmethod
    def running(self) -> bool: ...

    @abstractmethod
    def start(self) -> None:
        """Start the stopped or killed server with the disk it left; returns once it is ready."""

    @abstractmethod
    def stop(self) -> None:
        """A fast, orderly stop: sessions are ended, transactions rolled back."""

    @abstractmethod
    def kill(self) -> None:
        """The server dies at once; its disk stays and is recovered by `start`."""

    def restart(self) -> None:
        self.stop()
        self.start()

    @abstractmethod
    def close(self) -> None:
        """The end of the session: nothing of it is left behind."""


class GivenServer(PostgresServer):
    """The server that DAIFU_TEST_DATABASE_URL names. It is never stopped."""

    def __init__(self, url: str) -> None:
        super().__init__("DAIFU_TEST_DATABASE_URL", make_url(url))

    def running(self) -> bool:
        return True

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        raise NotOurs("PostgreSQL", "DAIFU_TEST_DATABASE_URL")

    kill = stop

    def close(self) -> None:
        """Whoever gave it keeps it."""
