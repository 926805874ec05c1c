"""Says that something was done, beyond the run that did it."""

from typing import NoReturn

import streamlit as st

from inspection.dashboard.parts import formats

_NOTICE = "notice"


def done(text: str) -> NoReturn:
    """Run the page anew, which closes a dialog and reads what changed, and say it there."""
    st.session_state[_NOTICE] = text
    st.rerun()


def show() -> None:
    """Say what was done in the run before."""
    text = st.session_state.pop(_NOTICE, None)
    if text is not None:
        st.toast(formats.plain(text), icon=":material/check_circle:", duration="long")
