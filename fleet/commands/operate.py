# SPDX-License-Identifier: Apache-2.0
"""init, serve, key, audit."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.commands.common import (
    HomeOption,
    JsonOption,
    actor,
    open_home,
    print_json,
    print_table,
)
from fleet.errors import FleetError
from fleet.home import ApiConfig, BrokerConfig, Config, Home, home_folder
from fleet.initialise import initialise, renew
from fleet.keys import make_release_key
from fleet.mqtt import broker
from fleet.server import ROLES, Server
from fleet.store import Store, audit
from fleet.store.audit import Entry

key_app = typer.Typer(help="The keys that sign releases.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit trail.", no_args_is_help=True)


def init(
    home: HomeOption = None,
    tenant: Annotated[str, typer.Option(help="Whose fleet it is.")] = "default",
    vendor: Annotated[str, typer.Option(help="Who makes the devices.")] = "generic",
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address by which devices reach the broker; may be repeated."),
    ] = None,
    listen: Annotated[str, typer.Option(help="Address the broker binds.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="For devices with passwords.")] = 8883,
    certificate_port: Annotated[int, typer.Option(help="For client certificates.")] = 8884,
    bridge_port: Annotated[
        int, typer.Option(help="Plain MQTT on loopback for UART bridges of this machine; 0: none.")
    ] = 0,
    worker_port: Annotated[int, typer.Option(help="For the server itself, on loopback.")] = 1884,
    database: Annotated[
        str, typer.Option(help="sqlite:///FILE (below the home) or postgresql://USER@HOST/NAME.")
    ] = "sqlite:///fleet.db",
    api_listen: Annotated[str, typer.Option(help="Address of the HTTP API.")] = "127.0.0.1",
    api_port: Annotated[int, typer.Option(help="Port of the HTTP API.")] = 8080,
    broker_host: Annotated[
        str, typer.Option(help="Use the MQTT 5 broker on this host instead of starting one.")
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="No TLS for devices; loopback demos only.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Write the broker's files of an existing home again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a fleet's home: CA, broker configuration, signing keys, database."""
    folder, hosts = home_folder(home), [*(host or []), "localhost", "127.0.0.1"]
    for number in (port, certificate_port, worker_port, api_port):
        if not 0 < number < 65536:
            raise FleetError(f"{number} is no port")
    if again:
        made = Home(folder)
        renew(made, hosts)
        broker.reload(made)
    else:
        made = initialise(
            folder,
            Config(
                tenant=tenant,
                vendor=vendor,
                database=database,
                broker=BrokerConfig(
                    managed=not broker_host,
                    host=broker_host or "localhost",
                    listen=listen,
                    port=port,
                    certificate_port=certificate_port,
                    bridge_port=bridge_port,
                    worker_port=worker_port,
                    worker_tls=bool(broker_host),
                    insecure=insecure,
                ),
                api=ApiConfig(listen=api_listen, port=api_port),
            ),
            hosts,
        )
    facts = {
        "home": str(made.folder),
        "ca": str(made.keys / "ca.pem"),
        "root_key": str(made.keys / "root.key"),
        "root_public": str(made.keys / "root.pub"),
        "api_token": str(made.keys / "api.secret"),
        "broker_port": made.config.broker.port,
        "api": f"{made.config.api.listen}:{made.config.api.port}",
    }
    if as_json:
        print_json(facts)
        return
    print(f"Made {made.folder}: CA, broker configuration, signing keys, database.")
    print(f"Keep {made.keys / 'root.key'} offline: it is needed to renew the release key only.")
    if broker_host:
        print(f"Copy {made.broker}/acl and passwd to the broker on {broker_host}.")
    print(f"Next: fleet serve --home {folder}; fleet device add NAME --home {folder}")


def serve(
    home: HomeOption = None,
    roles: Annotated[
        str, typer.Option(help=f"Comma-separated, of {', '.join(ROLES)}; default all.")
    ] = ",".join(ROLES),
    instance: Annotated[
        str, typer.Option(help="Tells processes with the same role apart, for example 2.")
    ] = "",
) -> None:
    """Run the server, and the broker if this home manages one, until interrupted."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    here = open_home(home)
    chosen = [r.strip() for r in roles.split(",") if r.strip()]
    server = Server(here, chosen, instance, extra_routers(here))

    def ready() -> None:
        config = here.config
        parts = []
        if "broker" in chosen and config.broker.managed:
            kind = "MQTT" if config.broker.insecure else "MQTT over TLS"
            parts.append(f"{kind} on {config.broker.listen}:{config.broker.port}")
        if "api" in chosen:
            parts.append(f"HTTP on {config.api.listen}:{config.api.port}")
        print(f"Serving {', '.join(chosen)}. {'; '.join(parts)}. Ctrl-C ends it.", flush=True)

    server.run(ready)


def extra_routers(home: Home) -> list[Any]:
    """Routers of other rooms; each is one line here."""
    return []


@key_app.command("renew")
def key_renew(
    home: HomeOption = None,
    root: Annotated[
        Path | None, typer.Option(help="The root key, wherever it is kept; default in the home.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long the new key may sign.")] = 730,
) -> None:
    """Make a new release key and let the root key sign its grant."""
    here = open_home(home)
    make_release_key(here.keys, root or here.keys / "root.key", here.config.tenant, days * 86_400)
    with here.store.write() as connection:
        detail = {"days": days}
        entry = Entry("key.renewed", "key/release", actor(), here.config.tenant, detail)
        audit.append(connection, [entry])
    print(f"Releases published from now on are signed by a new key, valid for {days} days.")


@audit_app.command("verify")
def audit_verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Recompute the hash chain; a changed, missing or inserted entry is named."""
    store = Store(open_home(home).database_url)
    with store.read() as connection:
        count, last = audit.verify(connection)
    if as_json:
        print_json({"entries": count, "hash": last})
    else:
        print(f"{count} entries, unbroken. Last hash {last}")


@audit_app.command("export")
def audit_export(
    home: HomeOption = None,
    subject: Annotated[str, typer.Option(help="Only about this, for example rollout/3.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="File to write; default standard output.")
    ] = None,
) -> None:
    """Write all entries as one JSON object a line, in order, with their hashes."""
    store = open_home(home).store
    stream = out.open("w", encoding="utf-8") if out else sys.stdout
    try:
        with store.read() as connection:
            for row in audit.entries(connection, subject=subject):
                stream.write(json.dumps(row, sort_keys=True) + "\n")
    finally:
        if out:
            stream.close()


@audit_app.command("tail")
def audit_tail(
    home: HomeOption = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show the newest entries."""
    with open_home(home).store.read() as connection:
        rows = audit.latest(connection, count)
    for row in rows:
        row["written_at"] = row.pop("at")
    columns = ("id", "written_at", "actor", "action", "subject", "detail")
    print_table(rows, columns, "Nothing has happened yet.", as_json)
