"""Who this browser session is: the hub's client of the logged-in person, and the chosen line."""

import time

import streamlit as st

from inspection.dashboard.parts.remembered import COOKIE, REMEMBERED, TICKET
from inspection.hub.client import HubClient
from inspection.hub.wire.line import StationRow
from inspection.hub.wire.people import Me, Role, Session

HUB_URL, OIDC = "hub_url", "oidc"  # what `inspection dashboard` gives the script, as st.secrets
CLIENT, ME, LINE = "session client", "session me", "line"
_TOKEN, _TICKET, _OVER, _PLACES = (
    "session token",
    "session ticket",
    "session over",
    "session places",
)
PLACES_S = 30.0
_SET_COOKIE = "<script>fetch('/session', {{method: 'POST', headers: {{'{}': '{}'}}}})</script>"


def open_client(token: str | None = None) -> HubClient:
    """Give a client of the dashboard's hub; without a token it may only log in."""
    return HubClient(hub_url(), token)


def begin(session: Session) -> None:
    """Take a new login as this browser session's, and remember it beyond a reload."""
    _take(session)
    st.session_state[_TICKET] = REMEMBERED.add(session)


def resume() -> None:
    """Take up the login that the browser's cookie stands for, if there is one."""
    session = REMEMBERED.get(st.context.cookies.get(COOKIE))
    if session is not None:
        _take(session)


def remember() -> None:
    """Have the browser fetch its cookie after a login; call it on every run."""
    ticket = st.session_state.get(_TICKET)
    if ticket is not None and REMEMBERED.waits(ticket):
        st.html(_SET_COOKIE.format(TICKET, ticket), unsafe_allow_javascript=True)


def forget(*, over: bool) -> None:
    """Drop the login; the next run asks for another, on the same page.

    Args:
        over: the hub does not know the session any more, and the person is told so.
    """
    client = st.session_state.pop(CLIENT, None)
    st.session_state.pop(ME, None)
    REMEMBERED.drop(st.session_state.pop(_TOKEN, ""))
    st.session_state[_OVER] = over
    if client is not None:
        client.close()


def was_over() -> bool:
    """Say whether the last session ended by itself."""
    return bool(st.session_state.get(_OVER))


def logged_in() -> bool:
    """Say whether somebody is logged in."""
    return CLIENT in st.session_state


def hub() -> HubClient:
    """Give the client of the logged-in person; pages run only when there is one."""
    client: HubClient = st.session_state[CLIENT]
    return client


def me() -> Me:
    """Say who is logged in."""
    person: Me = st.session_state[ME]
    return person


def may(role: Role) -> bool:
    """Say whether the logged-in person may do what needs a role; the hub decides in the end."""
    return me().role.may(role)


def hub_url() -> str:
    """Give the hub's address as the dashboard knows it."""
    return str(st.secrets[HUB_URL])


def line() -> str:
    """Give the line chosen in the top bar; empty while the hub knows none."""
    return str(st.session_state.get(LINE) or "")


def lines() -> tuple[str, ...]:
    """Give the lines that have, or had, stations."""
    return tuple(sorted({row.line for row in _places()}))


def stations(line: str) -> list[str]:
    """Give the stations of a line that are not retired."""
    return [row.station for row in _places() if row.line == line and row.retired_at is None]


def places_changed() -> None:
    """Ask for stations anew, because this person enrolled or retired one."""
    st.session_state.pop(_PLACES, None)


def _places() -> tuple[StationRow, ...]:
    """Give all stations, asked of the hub once in half a minute; only names are of use for long."""
    asked_at, known = st.session_state.get(_PLACES, (0.0, ()))
    if not known or time.monotonic() - asked_at > PLACES_S:
        known = tuple(hub().stations())
        st.session_state[_PLACES] = (time.monotonic(), known)
    return tuple(known)


def _take(session: Session) -> None:
    st.session_state[CLIENT] = open_client(session.token)
    st.session_state[ME] = Me(account=session.account, role=session.role)
    st.session_state[_TOKEN] = session.token
    st.session_state[_OVER] = False
