# SPDX-License-Identifier: Apache-2.0
"""`fleet serve`: the roles of one process, each a thread, and the broker if it is managed."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from fastapi import APIRouter

from fleet.errors import FleetError
from fleet.graph.role import Follow, graph_folder
from fleet.graph.role import router as graph_router
from fleet.graph.store import GraphStore
from fleet.home import Home, is_loopback
from fleet.http.app import create_app
from fleet.metrics import Metrics
from fleet.mqtt.blob import Blob
from fleet.mqtt.broker import Broker
from fleet.mqtt.ingest import Ingest
from fleet.mqtt.roll import Roll

log = logging.getLogger("fleet.server")

ROLES = ("broker", "api", "ingest", "rollout", "blob", "graph")
WATCH_S = 0.5
Work = Callable[[threading.Event], None]


class Server:
    """One process of the server.

    Args:
        home: of the fleet.
        roles: which of `ROLES` it plays.
        instance: names this process when several play the same role.
        routers: further ones for the HTTP API.

    Raises:
        FleetError: a role is unknown.
    """

    def __init__(
        self,
        home: Home,
        roles: Sequence[str] = ROLES,
        instance: str = "",
        routers: Sequence[APIRouter] = (),
    ) -> None:
        for role in roles:
            if role not in ROLES:
                raise FleetError(f"{role} is no role", f"There are {', '.join(ROLES)}.")
        self._home = home
        self._roles = set(roles)
        self._stop = threading.Event()
        self._failed: dict[str, BaseException] = {}
        self._threads: dict[str, threading.Thread] = {}
        self.metrics = Metrics()
        managed = home.config.broker.managed and "broker" in self._roles
        self._broker = Broker(home) if managed else None
        makers: dict[str, type[Ingest] | type[Roll] | type[Blob]] = {
            "ingest": Ingest,
            "rollout": Roll,
            "blob": Blob,
        }
        self._work: dict[str, Work] = {
            role: maker(home, self.metrics, instance).run
            for role, maker in makers.items()
            if role in self._roles
        }
        self._graph: GraphStore | None = None
        if "graph" in self._roles:
            self._graph = GraphStore(graph_folder(home))
            self._work["graph"] = Follow(home, self._graph).run
        elif "api" in self._roles and graph_folder(home).is_dir():
            self._graph = GraphStore(graph_folder(home), read_only=True)
        own = [] if self._graph is None else [graph_router(home, self._graph)]
        self._routers = [*own, *routers]

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Works until SIGINT or SIGTERM.

        Args:
            ready: called when everything is up.

        Raises:
            FleetError: something does not start, or a role failed.
        """
        previous = {s: signal.signal(s, self._signalled) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._begin()
            ready()
            while not self._stop.wait(WATCH_S):
                self._watch()
        finally:
            self._end()
            for number, handler in previous.items():
                signal.signal(number, handler)
        for role, error in self._failed.items():
            if isinstance(error, FleetError):
                raise error
            raise FleetError(f"the role {role} failed: {type(error).__name__}: {error}") from error

    def _begin(self) -> None:
        if self._broker is not None:
            self._broker.start()
        with self._home.store.read():
            pass  # a database that cannot be used is told before threads start
        for role, work in self._work.items():
            self._spawn(role, work)
        if "api" in self._roles:
            self._spawn("api", self._serve_http)

    def _spawn(self, role: str, work: Work) -> None:
        def guarded() -> None:
            try:
                work(self._stop)
            except BaseException as error:
                self._failed[role] = error
                if not isinstance(error, FleetError):
                    log.exception("the role %s failed", role)
                self._stop.set()

        thread = threading.Thread(target=guarded, name=role)
        self._threads[role] = thread
        thread.start()

    def _watch(self) -> None:
        if self._broker is not None and not self._broker.alive:
            log.error("the broker ended; it is started again")
            try:
                self._broker.start()
            except FleetError as error:
                log.error("%s", error.message)

    def _end(self) -> None:
        self._stop.set()
        for thread in self._threads.values():
            thread.join(30)
        if self._broker is not None:
            self._broker.stop()

    def _signalled(self, number: int, frame: Any) -> None:
        self._stop.set()

    def _serve_http(self, stop: threading.Event) -> None:
        config = self._home.config.api
        app = create_app(self._home, self.metrics, self.health, self._routers)
        tls: dict[str, Any] = {}
        if not is_loopback(config.listen):
            folder = self._home.broker
            tls = {"ssl_certfile": folder / "server.pem", "ssl_keyfile": folder / "server.key"}
        server = uvicorn.Server(
            uvicorn.Config(
                app, config.listen, config.port, log_level="warning", access_log=False, **tls
            )
        )
        thread = threading.Thread(target=server.run, name="http")
        thread.start()
        while not stop.wait(WATCH_S) and thread.is_alive():
            pass
        if not stop.is_set():
            raise FleetError(
                f"the HTTP API cannot listen on {config.listen}:{config.port}",
                "Change [api] in fleet.toml.",
            )
        server.should_exit = True
        thread.join(10)

    def health(self) -> dict[str, Any]:
        """Which roles work; ``ok`` when all do."""
        roles = {role: thread.is_alive() for role, thread in self._threads.items()}
        if self._broker is not None:
            roles["broker"] = self._broker.alive
        return {"ok": all(roles.values()), "roles": roles, "time": time.time()}
