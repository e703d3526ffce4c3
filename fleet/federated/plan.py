# SPDX-License-Identifier: Apache-2.0
"""PLAN.toml: who trains, what, how, for how long."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from fleet.errors import InvalidError
from fleet.home import is_loopback

STRATEGIES = (
    "tinyreptile", "tinymetafed", "fedsgd", "fedtiny", "magnitude", "fedavg", "fedprox",
    "fedmedian", "krum", "multikrum", "trimmedmean",
)  # fmt: skip
_STRICT = ConfigDict(extra="forbid")
# It becomes a folder's name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@checked(frozen=True, config=_STRICT)
class Who:
    """Which devices.

    Args:
        where: conditions, as of `fleet device list --where`.
        query: a SPARQL file whose ?device column names them; beside ``where`` both must hold.
        quorum: devices that must be there before a round begins.
        devices: that are asked in a round; 0: all.
        over_selection: more are asked by this factor, for those that fall out.
    """

    where: tuple[str, ...] = ()
    query: str | None = None
    quorum: int = 1
    devices: int = 0
    over_selection: float = 1.0


@checked(frozen=True, config=_STRICT)
class Training:
    """What a device does in a round.

    Args:
        steps: samples that it learns from.
        lr: its learning rate.
        batch: samples an update.
    """

    steps: int = 32
    lr: float = 0.02
    batch: int = 1


@checked(frozen=True, config=_STRICT)
class Rounds:
    """How long.

    Args:
        count: rounds.
        deadline_s: of one round; who has not answered is left out.
        patience: stop when the mean loss has not fallen for so many rounds; 0: never.
        patience_window: rounds that the mean is taken over.
        wait_s: for the quorum.
    """

    count: int = 100
    deadline_s: float = 30.0
    patience: int = 0
    patience_window: int = 10
    wait_s: float = 60.0


@checked(frozen=True, config=_STRICT)
class Compile:
    """How the result becomes a release; what `tinyml export` is given.

    Args:
        model, calibration, test: as of its command line.
        target: of the devices.
        arguments: further ones, the --learn options of ``export`` among them.
    """

    model: str
    target: str
    calibration: str | None = None
    test: str | None = None
    arguments: tuple[str, ...] = ()


@checked(frozen=True, config=_STRICT)
class SuperLink:
    """A Flower SuperLink on this machine, whose SuperNodes learn in the same rounds.

    Args:
        address: HOST:PORT of its API.
        client: FILE.py:NAME of the SuperNodes' ClientApp; modules of its folder go with it.
        nodes: SuperNodes that must be there before a round begins.
        root_certificate: PEM of the CA that signed its certificate; without one the system's.
        insecure: without TLS, on loopback only.
    """

    address: str
    client: str
    nodes: int = 1
    root_certificate: str | None = None
    insecure: bool = False


@checked(frozen=True, config=_STRICT)
class Plan:
    """A run.

    Args:
        name: of the run; resuming names the same.
        export: folder made by ``tinyml export --learn``: the network that the devices learn.
        strategy: one of STRATEGIES.
        options: of the strategy; see docs/federated.md.
        seed: of every choice.
        compile: for --then-rollout.
        superlink: of Flower, where PyTorch nodes take part.
    """

    name: str
    export: str
    strategy: Literal[
        "tinyreptile", "tinymetafed", "fedsgd", "fedtiny", "magnitude", "fedavg", "fedprox",
        "fedmedian", "krum", "multikrum", "trimmedmean",
    ]  # fmt: skip
    who: Who = Who()
    training: Training = Training()
    rounds: Rounds = Rounds()
    options: dict[str, float | int | str | bool] | None = None
    seed: int = 0
    compile: Compile | None = None
    superlink: SuperLink | None = None


_PLAN = TypeAdapter(Plan)


@dataclass(frozen=True)
class Opened:
    """A plan with the folder that its relative paths start from."""

    plan: Plan
    folder: Path

    @property
    def export(self) -> Path:
        """Of the network."""
        return self.folder / self.plan.export

    def as_json(self) -> Any:
        """For the database."""
        return _PLAN.dump_python(self.plan, mode="json")


def read_plan(path: Path) -> Opened:
    """Reads PLAN.toml.

    Raises:
        InvalidError: it cannot be read, or a field is unknown, missing or of the wrong type.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"{path} is no TOML: {error}") from None
    try:
        plan = _PLAN.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "plan"
        if where == "strategy" and "strategy" in raw:
            raise InvalidError(
                f"{path}: there is no strategy {raw['strategy']!r}",
                f"Strategies: {', '.join(STRATEGIES)}.",
            ) from None
        raise InvalidError(f"{path}: {where}: {first['msg']}") from None
    positive = {
        "rounds.count": plan.rounds.count,
        "rounds.deadline_s": plan.rounds.deadline_s,
        "training.steps": plan.training.steps,
        "training.lr": plan.training.lr,
        "training.batch": plan.training.batch,
        "who.quorum": plan.who.quorum,
        "who.over_selection": plan.who.over_selection,
    }
    for name, value in positive.items():
        if not value > 0:
            raise InvalidError(f"{path}: {name} must be above 0, it is {value}")
    natural = {
        "rounds.patience": plan.rounds.patience,
        "rounds.patience_window": plan.rounds.patience_window,
        "rounds.wait_s": plan.rounds.wait_s,
        "who.devices": plan.who.devices,
        **{f"options.{k}": v for k, v in (plan.options or {}).items() if not isinstance(v, str)},
    }
    for name, number in natural.items():
        if not number >= 0:
            raise InvalidError(f"{path}: {name} must not be below 0, it is {number}")
    if not _NAME.fullmatch(plan.name):
        raise InvalidError(
            f"{path}: {plan.name!r} is no name of a run", "Letters, digits, '-', '_' and '.'."
        )
    if plan.superlink is not None:
        _check_superlink(path, plan.superlink)
    return Opened(plan, path.parent)


def _check_superlink(path: Path, asked: SuperLink) -> None:
    host, _, port = asked.address.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidError(f"{path}: superlink.address is HOST:PORT, not '{asked.address}'")
    if asked.nodes < 1:
        raise InvalidError(f"{path}: superlink.nodes must be above 0, it is {asked.nodes}")
    if asked.insecure and not is_loopback(host.strip("[]")):
        raise InvalidError(
            f"{path}: superlink.insecure is for loopback, not for '{host}'",
            "Start flower-superlink with --ssl-certfile and name superlink.root_certificate.",
        )
    if asked.insecure and asked.root_certificate is not None:
        raise InvalidError(f"{path}: superlink.insecure and root_certificate exclude each other")
    file, _, name = asked.client.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise InvalidError(f"{path}: superlink.client is FILE.py:NAME, not '{asked.client}'")
    if not (path.parent / file).is_file():
        raise InvalidError(f"{path}: superlink.client: there is no file {path.parent / file}")
