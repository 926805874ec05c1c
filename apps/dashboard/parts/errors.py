"""Shows what the hub refused as a message with its remedy, where a traceback would stand."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from inspection.core.errors import HubError
from inspection.dashboard.parts import formats, session
from inspection.hub.asking import Refused

UNKNOWN = 401


@contextmanager
def shown() -> Iterator[None]:
    """Turn a HubError of the block into a message; a session that is over asks to log in again."""
    try:
        yield
    except Refused as error:
        if error.status == UNKNOWN:
            session.forget(over=True)
            st.rerun()
        st.error(formats.plain(str(error)), icon=":material/block:")
    except HubError as error:
        st.error(formats.plain(str(error)), icon=":material/cloud_off:")
