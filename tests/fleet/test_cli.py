# SPDX-License-Identifier: Apache-2.0
"""The commands as a user types them, and what they say of bad input."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from fleet.cli import main
from fleet.home import Home
from fleet.mqtt.ingest import absorb_all
from tests.fleet.live import perceptron
from tests.fleet.mqtt.test_absorb import hello, incoming


class Shell:
    """Runs commands in this process."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        monkeypatch.setenv("FLEET_HOME", str(home))
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object, fails: bool = False) -> str:
        self._monkeypatch.setattr("sys.argv", ["fleet", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        output = self._capsys.readouterr()
        assert bool(ended.value.code) == fails, output
        return output.err if fails else output.out

    def json(self, *arguments: object):
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch, capsys) -> Shell:
    shell = Shell(tmp_path / "home", monkeypatch, capsys)
    shell("init")
    return shell


def test_a_home_is_private_and_made_once(tmp_path, fleet):
    home = tmp_path / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for file in ("keys/root.key", "keys/release.key", "keys/ca.key", "keys/api.secret",
                 "keys/worker.secret", "broker/server.key", "broker/passwd"):  # fmt: skip
        assert stat.S_IMODE((home / file).stat().st_mode) == 0o600, file
    assert "is not empty" in fleet("init", fails=True)
    before = (home / "broker" / "server.pem").read_bytes()
    fleet("init", "--again", "--host", "example.org")
    assert (home / "broker" / "server.pem").read_bytes() != before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tenant", "Big Corp"], "is no tenant"),
        (["--insecure", "--listen", "0.0.0.0"], "for demos on this machine"),
        (["--port", "70000"], "is no port"),
        (["--database", "mysql://x"], "no supported database"),
    ],
)
def test_homes_that_cannot_be(tmp_path, monkeypatch, capsys, options, words):
    shell = Shell(tmp_path / "home", monkeypatch, capsys)
    assert words in shell("init", *options, fails=True)


def test_without_a_home(tmp_path, monkeypatch, capsys):
    shell = Shell(tmp_path / "nowhere", monkeypatch, capsys)
    for command in (["device", "list"], ["serve"], ["audit", "verify"], ["rollout", "list"]):
        error = shell(*command, fails=True)
        assert "is no fleet's home" in error
        assert "hint:" in error


def test_a_damaged_home(tmp_path, fleet):
    (tmp_path / "home" / "fleet.toml").write_text("database = 3")
    assert "database" in fleet("device", "list", fails=True)
    (tmp_path / "home" / "fleet.toml").write_text("[[[")
    assert "damaged" in fleet("device", "list", fails=True)


def test_credentials_go_where_they_are_told(tmp_path, fleet):
    file = tmp_path / "credentials.txt"
    fleet("device", "add", "a", "b", "--out", file, "--tag", "site=x")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [line.split()[1] for line in file.read_text().splitlines()] == ["a", "b"]
    (shown,) = fleet.json("device", "add", "c")
    assert len(shown["password"]) > 32
    fleet("device", "add", "d", "--certificate", "--out", tmp_path / "certificates")
    assert (tmp_path / "certificates" / "d.key").is_file()
    names = [d["device"] for d in fleet.json("device", "list")]
    assert names == ["a", "b", "c", "d"]
    passwd = (tmp_path / "home" / "broker" / "passwd").read_text()
    assert shown["password"] not in passwd
    assert [line.split(":")[0] for line in passwd.splitlines()] == ["fleet-server", "a", "b", "c"]
    fleet("device", "revoke", "b")
    assert "b:" not in (tmp_path / "home" / "broker" / "passwd").read_text()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("device add Upper", "is no device name"),
        ("device add", "name a device"),
        ("device add x --certificate", "needs --out"),
        ("device add x --tag y", "is no tag"),
        ("device show none", "there is no device none"),
        ("device list --where colour=red", "devices have no colour"),
        ("device call none ping", "there is no device"),
        ("twin set none x=1", "there is no device"),
        ("twin get none", "there is no device"),
        ("group create g --where online=maybe", "true or false"),
        ("group add none a", "there is no group"),
        ("model publish nowhere", "is no export"),
        ("model show none", "there is no release"),
        ("rollout create none", "there is no release"),
        ("rollout create none --wave lots", "is no wave"),
        ("rollout create none --wave 5%:often", "is no wave"),
        ("rollout create none --wave 500%", "percent must be"),
        ("rollout create none --plan nowhere.toml", "cannot be read"),
        ("rollout start 9", "there is no rollout 9"),
        ("serve --roles cook", "cook is no role"),
    ],
)
def test_bad_input_gets_one_clear_error(fleet, command, words):
    error = fleet(*command.split(), fails=True)
    assert words in error
    assert error.count("error:") == 1
    assert "Traceback" not in error


def test_from_publishing_to_a_plan(tmp_path, fleet):
    export = perceptron(tmp_path / "model", 1)
    made = fleet.json("model", "publish", export, "--class", "posix", "--version", "1.0")
    assert made["sequence"] == 1
    assert "published already" in fleet(
        "model", "publish", export, "--class", "posix", "--version", "1.0", fails=True
    )
    abi = int(fleet.json("model", "show", "perceptron@1.0")["requirements"]["abi"], 16)
    names = [f"sim-{n:05d}" for n in range(1, 11)]
    fleet("device", "add", "--count", "10", "--out", tmp_path / "passwords")
    fleet("device", "add", "other", "new", "--out", tmp_path / "passwords")
    home = Home(Path(os.environ["FLEET_HOME"]))
    births = [incoming(hello(vendor="generic", abi=abi), "hello", n) for n in names]
    births.append(incoming(hello(vendor="generic", abi=1), "hello", "other"))
    absorb_all(home.store, births)
    plan = ["--wave", "2", "--wave", "50%", "--wave", "100%", "--approval"]
    preview = fleet.json("rollout", "create", "perceptron", *plan, "--dry-run")
    assert [len(w["devices"]) for w in preview["waves"]] == [2, 4, 4]
    assert set(preview["excluded"]) == {"other", "new"}
    assert "ABI" in preview["excluded"]["other"]
    assert fleet.json("rollout", "list") == []
    created = fleet.json("rollout", "create", "perceptron", *plan)
    assert (created["state"], created["devices"]) == ("awaiting_approval", 10)
    assert "someone else" in fleet("rollout", "approve", 1, fails=True)
    assert "must be ready" in fleet("rollout", "start", 1, fails=True)
    again = fleet.json("rollout", "create", "perceptron", "--dry-run")
    assert "part of rollout 1" in again["excluded"]["sim-00001"]
    assert fleet.json("rollout", "cancel", 1)["state"] == "stopped"
    fleet("audit", "verify")
    lines = [json.loads(line) for line in fleet("audit", "export").splitlines()]
    assert [e["id"] for e in lines] == list(range(1, len(lines) + 1))


def test_a_lost_release_key_is_renewed_by_the_root(tmp_path, fleet):
    export = perceptron(tmp_path / "model", 1)
    keys = tmp_path / "home" / "keys"
    (keys / "release.key").unlink()
    error = fleet("model", "publish", export, fails=True)
    assert "fleet key renew" in error
    root = tmp_path / "vault.key"
    (keys / "root.key").rename(root)
    assert "--root" in fleet("key", "renew", fails=True)
    fleet("key", "renew", "--root", root)
    fleet("model", "publish", export)
