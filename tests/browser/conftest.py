"""The plant and the browsers of these tests."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from inspection.hub.wire.people import Role
from tests.browser.plant import CHROMIUM, Plant, running_plant, screens
from tests.calls import watched
from tests.hub.conftest import PASSWORD

SIZE = {"width": 1366, "height": 768}
expect.set_options(timeout=20_000)


def pytest_collection_modifyitems(items):
    for item in items:
        if CHROMIUM is None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="chromium is not installed"))


@pytest.fixture(scope="session")
def plant(tmp_path_factory) -> Iterator[Plant]:
    """One plant for all; each test has parts or a line of its own; nothing of it calls out."""
    folder = tmp_path_factory.mktemp("plant")
    with watched(folder) as calls:
        with running_plant(folder) as running:
            yield running
        assert calls() == []


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Person:
    """Somebody at a browser."""

    def __init__(self, page: Page, plant: Plant) -> None:
        self.page, self._plant = page, plant

    def log_in(self, account: str) -> None:
        """Fill the form of the login and wait for the page behind it."""
        self.page.get_by_label("Account").fill(account)
        self.page.get_by_label("Password", exact=True).fill(PASSWORD)
        with self.page.expect_response("**/session"):  # sets the cookie that outlives a reload
            self.page.get_by_role("button", name="Log in", exact=True).click()
        expect(self.key("who")).to_be_visible()
        self.settle()

    def open(self, name: str, line: str = "line-1") -> None:
        """Open a page by its address, as a bookmark does."""
        path = "" if name == "overview" else name
        self.page.goto(f"{self._plant.dashboard}/{path}?line={line}")
        self.settle()

    def key(self, name: str):
        """Find a widget by its key."""
        return self.page.locator(f".st-key-{name}")

    def button(self, name: str):
        """Find the button of a key."""
        return self.key(name).get_by_role("button").first

    def settle(self) -> None:
        """Wait until Streamlit has nothing more to run."""
        idle = '[data-testid="stApp"][data-test-script-state="notRunning"]'
        self.page.locator(idle).wait_for(state="attached")  # expect() looks once a second only

    def shoot(self, name: str) -> None:
        """Keep a screenshot where somebody asked for them, and see that the page has no error."""
        self.settle()
        expect(self.page.locator('[data-testid="stException"]')).to_have_count(0)
        if folder := screens():
            folder.mkdir(parents=True, exist_ok=True)
            self.page.wait_for_timeout(700)  # charts fade in
            self.page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=80)


@pytest.fixture
def person(plant, chromium) -> Iterator[Callable[[Role, str], Person]]:
    """Gives a function that logs somebody in, by role and name, each in a browser of their own."""
    contexts = []

    def come(role: Role, name: str) -> Person:
        plant.served.person(role, name)
        context = chromium.new_context(viewport=SIZE)
        contexts.append(context)
        somebody = Person(context.new_page(), plant)
        somebody.page.goto(plant.dashboard)
        somebody.log_in(name)
        return somebody

    yield come
    for context in contexts:
        context.close()


@pytest.fixture
def stranger(plant, chromium) -> Iterator[Person]:
    """Somebody who is not logged in."""
    context = chromium.new_context(viewport=SIZE)
    somebody = Person(context.new_page(), plant)
    somebody.page.goto(plant.dashboard)
    yield somebody
    context.close()


def part_of(text: str) -> str:
    """Read the part's name out of the review page's story."""
    found = re.search(r"Part (\S+)", text)
    assert found, text
    return found.group(1)
