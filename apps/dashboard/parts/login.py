"""Asks who is there: a local account by a form, or the identity provider's people."""

import re

import streamlit as st
from pydantic import ValidationError

from inspection.core.errors import HubError
from inspection.dashboard.parts import formats, session
from inspection.hub.wire.people import Login, OidcLogin

FORWARDED = re.compile(r"[0-9A-Za-z.:, \[\]]{1,400}")
_TRIED = "login tried"


def ask() -> None:
    """Show the login in the place of the page; the page's address stays."""
    _try_identity_token()
    _, middle, _ = st.columns([1, 1, 1])
    with middle:
        st.subheader(":material/frame_inspect: Inspection", anchor=False)
        if session.was_over():
            st.info("Your session is over. Log in again; you come back to this page.")
        with st.form("login"):
            account = st.text_input("Account", autocomplete="username", key="login-account")
            password = st.text_input(
                "Password", type="password", autocomplete="current-password", key="login-password"
            )
            sent = st.form_submit_button("Log in", type="primary", key="login-send")
        if sent:
            _log_in(account, password)
        if st.secrets[session.OIDC]:
            st.button("Log in with the identity provider", on_click=st.login, key="login-oidc")
        st.caption(
            "No account yet? An admin makes one under Stations; the first is made where the hub "
            "runs: `inspection hub account add NAME --role admin`"
        )


def leave() -> None:
    """End the session on the hub and here."""
    try:
        session.hub().logout()
    except HubError:  # the hub is away: its session ends by itself, the cookie stands for nothing
        st.toast("The hub did not answer; the session there ends by itself.")
    session.forget(over=False)
    if st.secrets[session.OIDC] and st.user.is_logged_in:
        st.logout()


def _log_in(account: str, password: str) -> None:
    try:
        login = Login.model_validate({"account": account, "password": password})
    except ValidationError:
        st.error("Give an account and its password.")
        return
    client = session.open_client()
    try:
        session.begin(client.login(login, _came_from()))
    except HubError as error:
        st.error(formats.plain(str(error)))
        return
    finally:
        client.close()
    st.rerun()


def _came_from() -> str | None:
    """Give the addresses this browser came by, as X-Forwarded-For lists them, the nearest last.

    The hub counts wrong passwords by them, and believes only what stands behind the last address
    it does not trust: whatever a browser sends for a header stands before its own address.
    """
    address, given = st.context.ip_address, st.context.headers.get("X-Forwarded-For", "")
    if address is None:  # of this machine, as the hub sees the dashboard itself
        return None
    return f"{given}, {address}" if FORWARDED.fullmatch(given) else address


def _try_identity_token() -> None:
    """Log in with the identity token Streamlit's own login got, once per token."""
    if not st.secrets[session.OIDC] or not st.user.is_logged_in:
        return
    token = str(st.user.tokens["id"])
    if st.session_state.get(_TRIED) == token:
        return
    st.session_state[_TRIED] = token
    client = session.open_client()
    try:
        login = OidcLogin.model_validate({"id_token": token})
        session.begin(client.login_oidc(login, _came_from()))
    except HubError as error:
        st.error(
            f"{formats.plain(str(error))}; log in with the identity provider again, or ask an admin"
        )
        return
    finally:
        client.close()
    st.rerun()
