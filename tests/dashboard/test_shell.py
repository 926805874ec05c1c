from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit import config
from streamlit.runtime import context
from streamlit.testing.v1 import AppTest

from inspection.core.errors import ConfigError
from inspection.dashboard import server
from inspection.dashboard.parts import formats, session
from inspection.dashboard.parts.remembered import COOKIE, REMEMBERED, ROUTE, TICKET
from inspection.dashboard.settings import DashboardConfig
from inspection.hub.wire.people import Role, Session
from tests.dashboard.fake import FakeHub, logged_in, refusal
from tests.dashboard.plants import overview, station

OVERVIEW, STATIONS, SESSION = "/v1/overview", "/v1/stations", "/v1/session"


def hub_of(*names: str) -> FakeHub:
    rows = tuple(station(f"of {name}", line=name) for name in names)
    return FakeHub({("GET", OVERVIEW): overview(), ("GET", STATIONS): rows})


def session_of(token: str = "secret", hours: float = 1) -> Session:
    until = datetime.now(UTC) + timedelta(hours=hours)
    return Session(account="weber", role=Role.ENGINEER, token=token, expires_at=until)


def dashboard(url: str = "http://hub") -> AppTest:
    test = AppTest.from_file(str(server.SCRIPT), default_timeout=20)
    test.secrets[session.HUB_URL] = url
    test.secrets[session.OIDC] = False
    return test


def text(test: AppTest) -> str:
    shown = [*test.markdown, *test.info, *test.error, *test.caption]
    return "\n".join(element.value for element in shown)


def test_nothing_is_shown_before_the_login():
    """Who is not logged in sees the form and nothing of the plant."""
    test = dashboard().run()
    assert [field.label for field in test.text_input] == ["Account", "Password"]
    assert not test.metric
    assert not test.dataframe


def test_a_person_logs_in_by_the_form(monkeypatch):
    """A wrong password is said; the right one opens the page for that person."""
    monkeypatch.setattr(context, "_get_client_context", lambda: None)  # no browser's address
    hub = hub_of("line-1")
    hub.answers["POST", SESSION] = refusal(401, "account or password is wrong")
    with hub.served() as url:
        test = dashboard(url).run()
        test.text_input(key="login-account").input("weber")
        test.text_input(key="login-password").input("correct horse battery")
        test.button(key="login-send").click().run()
        assert "account or password is wrong" in text(test)
        hub.answers["POST", SESSION] = session_of()
        test.button(key="login-send").click().run()
    assert hub.calls("POST", SESSION)[-1]["password"] == "correct horse battery"
    assert "weber is engineer here" in text(test)
    assert test.metric


@pytest.mark.parametrize(
    ("address", "given", "told"),
    [
        ("10.0.0.7", None, "10.0.0.7"),
        ("10.0.0.7", "1.2.3.4, 10.9.9.9", "1.2.3.4, 10.9.9.9, 10.0.0.7"),
        ("10.0.0.7", "é\n", "10.0.0.7"),
        ("2001:db8::7", "1" * 500, "2001:db8::7"),
        ("127.0.0.1", "1.2.3.4", None),
    ],
)
def test_the_hub_hears_where_a_login_comes_from(monkeypatch, address, given, told):
    """Behind whatever the browser sent for the header stands the address it has in truth."""
    headers = {} if given is None else {"X-Forwarded-For": given}
    known = SimpleNamespace(remote_ip=address, headers=headers.items(), cookies={}, locale="en")
    monkeypatch.setattr(context, "_get_client_context", lambda: known)
    hub = hub_of("line-1")
    hub.answers["POST", SESSION] = session_of()
    with hub.served() as url:
        test = dashboard(url).run()
        test.text_input(key="login-account").input("weber")
        test.text_input(key="login-password").input("correct horse battery")
        test.button(key="login-send").click().run()
    (asked,) = (one for one in hub.asked if one.method == "POST")
    assert asked.headers.get("X-Forwarded-For") == told


def test_an_empty_password_is_not_sent():
    """The form asks for both."""
    test = dashboard().run()
    test.text_input(key="login-account").input("weber")
    test.button(key="login-send").click().run()
    assert test.error[0].value == "Give an account and its password."


def test_a_session_that_is_over_asks_to_log_in_again():
    """A 401 in the middle of a page brings the login back, with the reason."""
    hub, test = hub_of("line-1"), dashboard()
    logged_in(test, hub)
    test.run()
    hub.answers["GET", OVERVIEW] = refusal(401, "not known here")
    test.run()
    assert "Your session is over" in text(test)
    assert [field.label for field in test.text_input] == ["Account", "Password"]


def test_a_hub_that_refuses_is_shown_as_a_message():
    """No traceback: what the hub said stands on the page, Markdown in it is not obeyed."""
    hub, test = hub_of("line-1"), dashboard()
    hub.answers["GET", OVERVIEW] = refusal(503, "no ![picture](http://elsewhere)")
    logged_in(test, hub)
    test.run()
    assert test.error[0].value == r"no \!\[picture\](http\://elsewhere)"
    assert not test.exception


def test_logging_out_ends_the_session_on_the_hub():
    """The hub is told, and the form is back."""
    hub, test = hub_of("line-1"), dashboard()
    hub.answers["DELETE", SESSION] = None
    logged_in(test, hub)
    test.run()
    test.button(key="logout").click().run()
    assert len(hub.calls("DELETE", SESSION)) == 1
    assert test.text_input(key="login-account").value == ""


def test_the_lines_to_choose_are_those_that_have_stations():
    """Each once, the first is chosen."""
    test = dashboard()
    logged_in(test, hub_of("line-2", "line-1", "line-2"))
    test.run()
    assert test.selectbox(key=session.LINE).options == ["line-1", "line-2"]
    assert test.session_state[session.LINE] == "line-1"


@pytest.mark.fast
def test_a_ticket_gives_the_cookie_once():
    """The cookie is out of reach of scripts and foreign sites, and the ticket is used up."""
    browser = TestClient(Starlette(routes=[ROUTE]))
    ticket = REMEMBERED.add(session_of("of the ticket"))
    answer = browser.post("/session", headers={TICKET: ticket})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Max-Age" not in cookie
    assert REMEMBERED.get(browser.cookies[COOKIE]).token == "of the ticket"
    assert browser.post("/session", headers={TICKET: ticket}).status_code == 403
    assert browser.post("/session").status_code == 403


@pytest.mark.fast
def test_a_cookie_stands_for_nothing_after_logout_or_the_end_of_the_session():
    """A key that was stolen is worth nothing then."""
    key = REMEMBERED.key_for(REMEMBERED.add(session_of("ended")))
    REMEMBERED.drop("ended")
    assert REMEMBERED.get(key) is None
    over = REMEMBERED.key_for(REMEMBERED.add(session_of("over", hours=-1)))
    assert REMEMBERED.get(over) is None
    assert REMEMBERED.get(None) is None


@pytest.mark.fast
def test_every_setting_is_one_that_streamlit_knows():
    """A key that a newer Streamlit dropped would be refused at the start only."""
    assert [key for key in server.SETTINGS if key not in config._config_options_template] == []


@pytest.mark.fast
def test_a_secrets_file_that_is_not_there_is_named():
    """The dashboard does not start without it, rather than without its login."""
    with pytest.raises(ConfigError, match="no such file"):
        server.serve(DashboardConfig(oidc_secrets=Path("secrets.toml")))


@pytest.mark.fast
def test_an_address_others_can_reach_needs_a_word():
    """Loopback until told otherwise."""
    with pytest.raises(ValueError, match="exposed: true"):
        DashboardConfig(host="0.0.0.0")
    assert DashboardConfig(host="0.0.0.0", exposed=True, names=("one",)).port == 8101


@pytest.mark.fast
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("![x](http://a.b)", r"\!\[x\](http\://a.b)"),
        ("R&amp;D", r"R\&amp;D"),
        ("- a\n\n    b", r"\- a b"),
        ("1. a", r"1\. a"),
        ("score 1.5 of plate-1", "score 1.5 of plate-1"),
    ],
)
def test_what_people_wrote_is_no_markdown(text, said):
    """No name or comment draws a picture from elsewhere or hides an address behind words."""
    assert formats.plain(text) == said


@pytest.mark.fast
@pytest.mark.parametrize(
    ("value", "said"), [(None, "–"), (0.0123, "1.23%"), (0.5, "50.0%"), (1.0, "100.0%")]
)
def test_shares_are_said_with_the_digits_that_matter(value, said):
    """Small ones with two."""
    assert formats.percent(value) == said
