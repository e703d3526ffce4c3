# SPDX-License-Identifier: Apache-2.0
"""A fleet's home: one folder with configuration, keys, broker files, artefacts and database.

fleet.toml  keys/  broker/  artefacts/  fleet.db
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fleet.artifacts import Blobs
from fleet.domain.names import check_id
from fleet.errors import FleetError
from fleet.store import Store

FILE = "fleet.toml"
DEFAULT_HOME = "fleet-home"


@dataclass(frozen=True)
class BrokerConfig:
    """Where the broker is.

    Args:
        managed: ``fleet serve`` starts it; otherwise it is somebody else's.
        host: name or address by which server and tools reach it.
        listen: address that the managed broker binds for devices.
        port: for devices, TLS with passwords.
        certificate_port: for devices, TLS with client certificates; 0 for none.
        bridge_port: without TLS on loopback, for bridges to UARTs of this machine; 0 for none.
        worker_port: for the server's processes.
        worker_tls: whether that port speaks TLS.
        insecure: devices speak without TLS, on loopback only.
    """

    managed: bool = True
    host: str = "localhost"
    listen: str = "127.0.0.1"
    port: int = 8883
    certificate_port: int = 8884
    bridge_port: int = 0
    worker_port: int = 1884
    worker_tls: bool = False
    insecure: bool = False


@dataclass(frozen=True)
class ApiConfig:
    """Where the HTTP API listens.

    Args:
        listen: address; anything but loopback is served by TLS only.
        port: of it.
    """

    listen: str = "127.0.0.1"
    port: int = 8080


@dataclass(frozen=True)
class Config:
    """fleet.toml.

    Args:
        tenant: that commands mean when none is named.
        vendor: whose devices these are, in manifests.
        database: URL; a relative SQLite path is below the home.
        retention_days: reports older than this are removed; 0 keeps all.
    """

    tenant: str = "default"
    vendor: str = "generic"
    database: str = "sqlite:///fleet.db"
    retention_days: float = 30
    broker: BrokerConfig = BrokerConfig()
    api: ApiConfig = ApiConfig()


_CONFIG = TypeAdapter(Config)


class Home:
    """An existing home.

    Args:
        folder: made by ``fleet init``.

    Raises:
        FleetError: there is none, or its configuration is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        path = self.folder / FILE
        try:
            raw = tomllib.loads(path.read_text("utf-8"))
            self.config = _CONFIG.validate_python(raw)
        except FileNotFoundError:
            raise FleetError(
                f"{folder} is no fleet's home: it has no {FILE}",
                "Make one with fleet init, or name it with --home or FLEET_HOME.",
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FleetError(f"{path} is damaged: {error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(p) for p in first["loc"])
            raise FleetError(f"{path}: {where}: {first['msg']}") from None

    @property
    def keys(self) -> Path:
        """CA, root and release keys, secrets of the server."""
        return self.folder / "keys"

    @property
    def broker(self) -> Path:
        """Files that the managed broker reads."""
        return self.folder / "broker"

    @cached_property
    def blobs(self) -> Blobs:
        """Artefacts."""
        return Blobs(self.folder / "artefacts")

    @cached_property
    def store(self) -> Store:
        """The database; opened when first used."""
        return Store(self.database_url)

    @property
    def database_url(self) -> str:
        """With an absolute path."""
        prefix = "sqlite:///"
        url = self.config.database
        if url.startswith(prefix) and not url.startswith(f"{prefix}/"):
            return f"{prefix}{self.folder / url[len(prefix) :]}"
        return url

    def secret(self, name: str) -> str:
        """A secret of the server: ``worker`` (broker password), ``share`` or ``api``."""
        try:
            return (self.keys / f"{name}.secret").read_text("ascii").strip()
        except OSError as error:
            raise FleetError(f"the secret {name} cannot be read: {error}") from None


def home_folder(chosen: Path | None) -> Path:
    """--home, or FLEET_HOME, or ./fleet-home."""
    return chosen or Path(os.environ.get("FLEET_HOME", DEFAULT_HOME))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def write_config(folder: Path, config: Config) -> None:
    """Writes fleet.toml."""
    check_id("tenant", config.tenant)
    check_id("vendor", config.vendor)
    if config.broker.insecure and not is_loopback(config.broker.listen):
        raise FleetError(
            f"--insecure is for demos on this machine, but the broker would listen on "
            f"{config.broker.listen}",
            "Leave --insecure out: TLS needs no further preparation.",
        )
    data: dict[str, Any] = _CONFIG.dump_python(config, mode="json")
    sections = {k: v for k, v in data.items() if isinstance(v, dict)}
    lines = [f"{k} = {_toml(v)}" for k, v in data.items() if k not in sections]
    for name, section in sections.items():
        lines += ["", f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in section.items())]
    (folder / FILE).write_text("\n".join(lines) + "\n", "utf-8")


def _toml(value: str | bool | int | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


def new_secret() -> str:
    """32 random bytes as text."""
    return secrets.token_urlsafe(32)
