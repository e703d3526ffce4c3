# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from fleet.home import Home
from fleet.http.app import create_app
from fleet.metrics import Metrics


def client(home: Home, token: str | None = None) -> TestClient:
    app = create_app(home, Metrics(), lambda: {"ok": True})
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return TestClient(app, headers=headers, raise_server_exceptions=False)


@pytest.fixture
def api(plain_home: Home) -> TestClient:
    return client(plain_home, plain_home.secret("api"))


def test_everything_but_health_needs_the_token(plain_home):
    anyone, liar = client(plain_home), client(plain_home, "guess")
    paths = anyone.get("/openapi.json").json()["paths"]
    assert len(paths) > 20
    for path, methods in paths.items():
        for method in methods:
            for who in (anyone, liar):
                answer = who.request(method, path.replace("{", "").replace("}", ""), json={})
                assert answer.status_code == (200 if path == "/healthz" else 401), path
    assert anyone.get("/api/v1/devices").json()["hint"]


def test_a_device_from_its_birth_to_its_end(api):
    made = api.post("/api/v1/devices", json={"names": ["a"], "tags": {"site": "x"}})
    assert made.status_code == 201
    assert len(made.json()[0]["password"]) >= 32
    assert [d["device"] for d in api.get("/api/v1/devices?where=tag.site=x").json()] == ["a"]
    assert api.get("/api/v1/devices?where=tag.site=y").json() == []
    assert api.patch("/api/v1/devices/a/tags", json={"tags": {"site": None}}).json() == {}
    twin = api.patch("/api/v1/devices/a/twin", json={"desired": {"report_interval_s": 5}}).json()
    assert (twin["version"], twin["desired"]) == (1, {"report_interval_s": 5})
    late = {"desired": {"report_interval_s": 6}, "expected_version": 0}
    assert api.patch("/api/v1/devices/a/twin", json=late).status_code == 409
    assert api.post("/api/v1/devices/a/call", json={"command": "ping"}).status_code == 202
    assert api.post("/api/v1/devices/a/revoke").status_code == 204
    assert api.post("/api/v1/devices/a/revoke").status_code == 409
    shown = api.get("/api/v1/devices/a").json()
    assert shown["state"] == "revoked"
    assert "verifier" not in shown
    actions = [e["action"] for e in api.get("/api/v1/audit").json()]
    assert actions == [
        "device.added", "device.tagged", "twin.patched", "device.called", "device.revoked",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/devices/none", None, 404),
        ("GET", "/api/v1/devices?where=nonsense", None, 422),
        ("GET", "/api/v1/devices?limit=0", None, 422),
        ("GET", "/api/v1/rollouts/7", None, 404),
        ("GET", "/api/v1/models/none", None, 404),
        ("POST", "/api/v1/devices", {"names": ["UPPER"]}, 422),
        ("POST", "/api/v1/devices", {"names": []}, 422),
        ("POST", "/api/v1/devices", {"names": ["a", "a"]}, 409),
        ("POST", "/api/v1/devices", {"names": ["fleet-server"]}, 409),
        ("POST", "/api/v1/devices", {"names": ["a"], "oops": 1}, 422),
        ("POST", "/api/v1/rollouts", {"release": "none"}, 404),
        ("POST", "/api/v1/rollouts", {"release": "x", "plan": {"waves": []}}, 422),
        ("POST", "/api/v1/rollouts", {"release": "x", "plan": {"jitter_s": "soon"}}, 422),
        ("POST", "/api/v1/rollouts/1/explode", None, 422),
        ("POST", "/api/v1/groups", {"name": "g", "conditions": ["x"]}, 422),
        ("DELETE", "/api/v1/groups/none", None, 404),
    ],
)
def test_bad_requests_get_one_clear_error(api, method, path, body, status):
    answer = api.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.json()


def test_bodies_have_a_limit(api):
    answer = api.post("/api/v1/devices", content=b"x" * (2 << 20))
    assert answer.status_code == 413
    endless = api.post("/api/v1/devices", content=iter([b"x"]))
    assert endless.status_code == 411


def test_health_and_metrics(api, plain_home):
    health = api.get("/healthz")
    assert health.status_code == 200
    assert health.json()["database_ms"] >= 0
    api.post("/api/v1/devices", json={"names": ["a"]})
    shown = api.get("/metrics").text
    assert 'fleet_devices{state="registered"} 1.0' in shown
    assert 'fleet_queue_rows{queue="outgoing"} 0.0' in shown


def test_a_sick_role_is_not_healthy(plain_home):
    app = create_app(plain_home, Metrics(), lambda: {"ok": False})
    assert TestClient(app).get("/healthz").status_code == 503
