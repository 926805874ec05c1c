"""What admins do: enrol stations, rotate and revoke their tokens, make and change accounts."""

import json
from collections.abc import Callable
from typing import TypeVar

import pandas as pd
import streamlit as st
from pydantic import SecretStr, ValidationError

from inspection.dashboard.parts import errors, formats, notice, session
from inspection.hub.wire.line import NewStation, StationRow
from inspection.hub.wire.people import Account, AccountChange, NewAccount, NewToken, Role

T = TypeVar("T")
NEW = "new token"
LINES_OF_STATION = """\
line: {line}
station: {station}
outputs:
  - kind: hub
    url: {url}
    token_file: hub.token
updates:
  bundles: [{url}]
  thresholds: {url}
"""
"""What a station's settings need to speak with the hub."""


def tokens(rows: tuple[StationRow, ...]) -> None:
    """Enrol stations, and give, revoke and show tokens."""
    _new_token({row.station: row.line for row in rows})
    left, right = st.columns([1, 2], gap="large")
    with left:
        _enrol()
    with right:
        standing = {row.station: row for row in rows if row.retired_at is None}
        if not standing:
            st.info("No station is enrolled yet; begin on the left.", icon=":material/videocam:")
            return
        chosen = st.selectbox("Station", list(standing), key="tokens-station")
        _tokens_of(standing[chosen])


def accounts(rows: tuple[Account, ...]) -> None:
    """Make and change accounts."""
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "account": row.account,
                    "role": str(row.role),
                    "logs in by": "password" if row.local else "identity provider",
                    "made": formats.clock(row.created_at),
                    "stands": "disabled" if row.disabled_at else "active",
                }
                for row in rows
            ]
        ),
        hide_index=True,
        key="accounts",
    )
    left, right = st.columns(2, gap="large")
    with left:
        _add_account()
    with right:
        _change_account({row.account: row for row in rows})


def _enrol() -> None:
    with st.form("enrol", clear_on_submit=True):
        st.markdown("**Enrol a station**")
        station = st.text_input("Name, unique in the plant", key="enrol-station")
        line = st.text_input("Line", value=session.line(), key="enrol-line")
        sent = st.form_submit_button("Enrol", type="primary", key="enrol-send")
    if sent:
        new = _checked(lambda: NewStation(station=station.strip(), line=line.strip()))
        if new is not None:
            with errors.shown():
                _keep(session.hub().enrol(new))


def _keep(token: NewToken) -> None:
    session.places_changed()
    st.session_state[NEW] = token
    notice.done(f"{token.station} has a new token.")


def _new_token(lines: dict[str, str]) -> None:
    """Show a token that was just made, until the admin has stored it."""
    token: NewToken | None = st.session_state.get(NEW)
    if token is None:
        return
    with st.container(border=True, key="new-token"):
        st.warning(
            f"Token {token.id} of **{formats.plain(token.station)}**. It is shown this once; the "
            "hub keeps its hash only. Write it into the file `hub.token` on the station, "
            "readable by its user alone:",
            icon=":material/key:",
        )
        st.code(token.token, language=None)
        st.caption("and these lines into configs/station.yaml; the address is as this page has it:")
        names = {"line": lines.get(token.station, "LINE"), "station": token.station}
        own = {field: json.dumps(name) for field, name in names.items()}  # YAML reads no as False
        st.code(LINES_OF_STATION.format(url=session.hub_url(), **own), language="yaml")
        if st.button("I have stored it", key="new-token-stored"):
            del st.session_state[NEW]
            st.rerun()


def _tokens_of(row: StationRow) -> None:
    live = [token for token in row.tokens if token.revoked_at is None]
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "token": token.id,
                    "made": formats.clock(token.created_at),
                    "by": token.created_by,
                    "last used": formats.clock(token.used_at),
                    "revoked": formats.clock(token.revoked_at) if token.revoked_at else "",
                }
                for token in row.tokens
            ]
        ),
        hide_index=True,
        key="tokens",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button("New token", key="rotate", icon=":material/key:", help="the old ones hold on"):
            with errors.shown():
                _keep(session.hub().rotate(row.station))
        ids = [token.id for token in live]
        token_id = st.selectbox("Token", ids, key="revoke-token", width=120)
        if st.button("Revoke …", key="revoke", disabled=not ids):
            _confirm_revoke(row.station, int(token_id or 0), last=len(ids) == 1)
        if st.button("Retire the station …", key="retire"):
            _confirm_retire(row.station)


@st.dialog("Revoke a token")
def _confirm_revoke(station: str, token_id: int, *, last: bool) -> None:
    st.markdown(
        f"Token {token_id} of **{formats.plain(station)}** is refused from the next request on."
    )
    if last:
        st.warning(
            "It is the only one: the station goes on judging and keeps its events, but cannot send "
            "them until it has a new token."
        )
    if st.button("Revoke it", type="primary", key="revoke-confirm"):
        with errors.shown():
            session.hub().revoke(station, token_id)
            notice.done(f"Token {token_id} of {station} is revoked.")


@st.dialog("Retire a station")
def _confirm_retire(station: str) -> None:
    st.markdown(
        f"All tokens of **{formats.plain(station)}** are revoked and it leaves the lists. "
        "Its events stay. Its name cannot be used again."
    )
    typed = st.text_input("Type its name to go on", key="retire-name")
    if st.button("Retire it", type="primary", key="retire-confirm", disabled=typed != station):
        with errors.shown():
            session.hub().retire(station)
            session.places_changed()
            notice.done(f"{station} is retired.")


def _add_account() -> None:
    with st.form("account-add", clear_on_submit=True):
        st.markdown("**Make an account**")
        name = st.text_input("Account", key="account-name")
        role = st.selectbox("Role", list(Role), key="account-role")
        password = st.text_input(
            "Password, at least 12 characters; empty for the identity provider's people",
            type="password",
            autocomplete="new-password",
            key="account-password",
        )
        sent = st.form_submit_button("Make it", type="primary", key="account-send")
    if sent:
        secret = SecretStr(password) if password else None
        new = _checked(lambda: NewAccount(account=name.strip(), role=role, password=secret))
        if new is not None:
            with errors.shown():
                session.hub().add_account(new)
                notice.done(f"{new.account} may log in as {new.role}.")


def _change_account(rows: dict[str, Account]) -> None:
    with st.container(border=True):
        st.markdown("**Change an account**; it has to log in again")
        chosen = rows[st.selectbox("Account", list(rows), key="change-account")]
        roles = list(Role)
        key = f"{chosen.account}-{chosen.role}-{chosen.disabled_at}"  # another one begins anew
        role = st.selectbox("Role", roles, index=roles.index(chosen.role), key=f"change-role-{key}")
        password = st.text_input(
            "New password; empty leaves it",
            type="password",
            autocomplete="new-password",
            key=f"change-password-{key}",
        )
        disabled = st.toggle(
            "Disabled", value=chosen.disabled_at is not None, key=f"change-disabled-{key}"
        )
        if st.button("Change it", key="change-send"):
            change = _checked(
                lambda: AccountChange(
                    role=role if role is not chosen.role else None,
                    password=SecretStr(password) if password else None,
                    disabled=disabled if disabled != (chosen.disabled_at is not None) else None,
                )
            )
            if change is not None:
                with errors.shown():
                    session.hub().change_account(chosen.account, change)
                    notice.done(f"{chosen.account} is changed.")


def _checked(make: Callable[[], T]) -> T | None:
    """Make a request of what was typed; says what does not fit, and gives none then."""
    try:
        return make()
    except ValidationError as error:
        for problem in error.errors():
            st.error(f"{problem['loc'][0]}: {problem['msg']}")
        return None
