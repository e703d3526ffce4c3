# SPDX-License-Identifier: Apache-2.0
"""The page as a person sees it: headless Chromium on the real API, database and graph."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from fleet.domain.plan import Plan
from fleet.graph.facts import RoundFacts
from fleet.graph.projector import Projector
from fleet.graph.role import router
from fleet.graph.store import GraphStore
from fleet.graph.triples import round_triples
from fleet.graph.vocabulary import deployments_graph
from fleet.home import Home
from fleet.http.app import create_app
from fleet.metrics import Metrics
from fleet.service import devices, rollouts
from fleet.store import schema
from tests.fleet.conftest import free_port
from tests.fleet.graph.test_projector import publish, say_hello

selenium = pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1200,900",
)  # fmt: skip
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not installed")


@pytest.fixture
def page(plain_home: Home) -> Iterator[str]:
    """The address of a server with three devices, one of them running a model."""
    home = plain_home
    digest = publish(home, "fits", 1, 2000)
    publish(home, "too-big", 2, 1 << 30)
    devices.add(home, "default", ["lamp", "door", "shed"], "ann")
    say_hello(home, "lamp", digest)
    with home.store.write() as connection:
        number = devices.find(connection, "default", "lamp")["id"]
        connection.execute(
            schema.presence.update()
            .where(schema.presence.c.device_id == number)
            .values(online=True, last_seen=time.time())
        )
    graph = GraphStore()
    Projector(home.store, graph).rebuild()
    for number, loss in enumerate((0.9, 0.5, 0.2)):
        facts = RoundFacts(
            "default", "sine", number, "tinyreptile", ("lamp",), f"{number}", f"{number + 1}",
            1.0, 2.0, (("loss", loss),),
        )  # fmt: skip
        graph.add(deployments_graph("default"), round_triples(facts))
    port = free_port()
    health = {"ok": True, "roles": {"api": True}}
    app = create_app(home, Metrics(), lambda: dict(health), [router(home, graph)])
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


class Person:
    """Goes to views and reads what they say."""

    def __init__(self, browser: webdriver.Chrome, address: str, token: str) -> None:
        self.browser = browser
        browser.get(address)
        self.wait_for("API token")
        browser.find_element(By.NAME, "token").send_keys(token)
        browser.find_element(By.CSS_SELECTOR, "form button").click()

    @property
    def text(self) -> str:
        return self.browser.find_element(By.TAG_NAME, "main").text

    def wait_for(self, words: str) -> str:
        WebDriverWait(self.browser, 60).until(lambda _: words in self.text)
        return self.text

    def go(self, view: str, words: str) -> str:
        self.browser.execute_script(f"location.hash = '#{view}'")
        return self.wait_for(words)


def test_a_person_sees_the_fleet(page: str, browser: webdriver.Chrome, plain_home: Home):
    person = Person(browser, page, plain_home.secret("api"))
    person.wait_for("Devices by state")
    assert "online 1" in person.text
    assert len(browser.find_elements(By.CSS_SELECTOR, "#map a")) == 3
    assert len(browser.find_elements(By.CSS_SELECTOR, "#map a.online")) == 1

    person.go("/devices", "lamp")
    assert "cortex-m4" in person.text
    person.go("/devices/lamp", "Twin: desired")

    models = person.go("/models", "Fit matrix")
    assert "fits@1" in models
    verdicts = [e.get_attribute("class") for e in browser.find_elements(By.CSS_SELECTOR, ".fit i")]
    assert sorted(verdicts) == ["fits", "misfit"]

    person.go("/sparql", "Query library")
    Select(browser.find_element(By.TAG_NAME, "select")).select_by_value("best-for-task")
    text = browser.find_element(By.TAG_NAME, "textarea")
    assert "Most accurate" in text.get_attribute("value")
    text.clear()
    text.send_keys("SELECT ?n WHERE { ?d td:title ?n ; tml:runs ?m }")
    browser.find_element(By.ID, "ask").click()
    person.wait_for("1 rows")
    assert "lamp" in browser.find_element(By.ID, "answer").text
    text.clear()
    text.send_keys("SELEKT")
    browser.find_element(By.ID, "ask").click()
    problem = browser.find_element(By.ID, "problem")
    WebDriverWait(browser, 60).until(lambda _: "does not parse" in problem.text)

    person.go("/federated", "sine: tinyreptile, 3 rounds")
    points = browser.find_element(By.CSS_SELECTOR, "svg.chart polyline").get_attribute("points")
    assert len(points.split()) == 3
    severe = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    # The broken query is answered with status 400, which the browser notes.
    assert all("/sparql" in e["message"] and "400" in e["message"] for e in severe), severe


def test_the_funnel_follows_a_rollout(page: str, browser: webdriver.Chrome, plain_home: Home):
    person = Person(browser, page, plain_home.secret("api"))
    plan = Plan()
    number = rollouts.create(plain_home, "default", "too-big", ["device=lamp"], plan, "ann")
    person.go("/rollouts", f"#{number} too-big@1: ready")
    button = browser.find_element(By.XPATH, "//button[text()='start']")
    button.click()
    person.wait_for(f"#{number} too-big@1: running")
    assert browser.find_elements(By.CSS_SELECTOR, ".wave .bar span")


def test_a_wrong_token_is_refused(page: str, browser: webdriver.Chrome):
    Person(browser, page, "wrong")
    problem = browser.find_element(By.ID, "problem")
    WebDriverWait(browser, 60).until(lambda _: "valid token" in problem.text)
    assert browser.find_elements(By.NAME, "token")
