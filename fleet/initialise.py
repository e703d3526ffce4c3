# SPDX-License-Identifier: Apache-2.0
"""`fleet init`: makes a home."""

from __future__ import annotations

from pathlib import Path

from fleet.errors import FleetError
from fleet.home import FILE, Config, Home, new_secret, write_config
from fleet.keys import Authority, make_ca, make_release_key, make_root, write_private
from fleet.mqtt.broker import write_files, write_revocations
from fleet.service.devices import password_verifiers

SECRETS = ("worker", "share", "api")


def initialise(folder: Path, config: Config, hosts: list[str]) -> Home:
    """A new home: CA, broker's certificate and files, keys, secrets, empty database.

    Args:
        folder: absent or empty.
        config: what fleet.toml shall say.
        hosts: names and addresses by which devices reach the broker.

    Raises:
        FleetError: the folder holds something, or a value makes no sense.
    """
    if folder.exists() and any(folder.iterdir()):
        way_out = "Choose another --home"
        if (folder / FILE).is_file():
            way_out += ", or renew its broker files with fleet init --again"
        raise FleetError(f"{folder} is not empty", f"{way_out}.")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    write_config(folder, config)
    home = Home(folder)
    ca = make_ca(f"{config.tenant} fleet CA")
    write_private(home.keys / "ca.key", ca.key)
    (home.keys / "ca.pem").write_bytes(ca.certificate)
    make_root(home.keys)
    make_release_key(home.keys, home.keys / "root.key", config.tenant)
    for name in SECRETS:
        write_private(home.keys / f"{name}.secret", f"{new_secret()}\n".encode())
    renew(home, hosts)
    return home


def renew(home: Home, hosts: list[str]) -> None:
    """Writes the broker's certificate, configuration, rules and passwords again."""
    authority = Authority(home.keys)
    server = authority.issue_server(hosts)
    write_private(home.broker / "server.key", server.key)
    write_private(home.broker / "server.pem", server.certificate)
    with home.store.read() as connection:
        passwords, revoked = password_verifiers(connection)
    write_revocations(home, authority.revocations(revoked))
    write_files(home, passwords)
