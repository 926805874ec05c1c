"""Links from one page to another; the frame says which pages there are."""

from collections.abc import Mapping

import streamlit as st

_PAGES = "pages"


def register(pages: Mapping[str, st.Page]) -> None:
    """Keep the pages of this run by their names."""
    st.session_state[_PAGES] = dict(pages)


def link(page: str, label: str, icon: str | None = None) -> None:
    """Link to a page by its name; plain text where the frame knows no such page."""
    known = st.session_state.get(_PAGES, {})
    if page in known:
        st.page_link(known[page], label=label, icon=icon, query_params=_kept())
    else:
        st.markdown(label)


def _kept() -> dict[str, str]:
    """The chosen line goes along."""
    return {name: value for name, value in st.query_params.items() if name == "line"}
