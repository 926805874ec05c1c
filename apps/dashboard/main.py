"""The dashboard's frame: login, the pages, the line that is looked at, and who is logged in."""

import streamlit as st

from inspection.dashboard.parts import errors, formats, links, login, notice, session
from inspection.dashboard.views import (
    audit,
    data,
    defects,
    models,
    overview,
    retraining,
    review,
    stations,
    thresholds,
)

ICON = (  # inline: a Material icon would be fetched from the network
    "<svg viewBox='0 0 24 24'><circle cx='12' cy='12' r='10' fill='#0072B2'/>"
    "<path d='M7 12.5l3.5 3.5L17 9' fill='none' stroke='white' stroke-width='2.5'/></svg>"
)
PAGES = (
    (overview.page, "Overview", "monitoring"),
    (review.page, "Review", "visibility"),
    (defects.page, "Defects", "category"),
    (thresholds.page, "Thresholds", "tune"),
    (models.page, "Models", "deployed_code"),
    (retraining.page, "Retraining", "model_training"),
    (data.page, "Data", "dataset"),
    (stations.page, "Stations", "videocam"),
    (audit.page, "Audit", "history"),
)


def main() -> None:
    """Show the chosen page to somebody who is logged in, else the login in its place."""
    st.set_page_config(page_title="Inspection", page_icon=ICON, layout="wide")
    if not session.logged_in():
        session.resume()
    pages = {
        title.lower(): st.Page(
            page,
            title=title,
            icon=f":material/{icon}:",
            url_path=title.lower(),
            default=page is overview.page,
        )
        for page, title, icon in PAGES
    }
    page = st.navigation(list(pages.values()), position="top" if session.logged_in() else "hidden")
    if not session.logged_in():
        login.ask()
        return
    links.register(pages)
    session.remember()
    notice.show()
    with errors.shown():
        _bar()
        page.run()


def _bar() -> None:
    left, right = st.columns([3, 2], vertical_alignment="center")
    with right:  # first: who is logged in can log out while the hub is away
        _person()
    lines = session.lines()
    if lines:
        left.selectbox(
            "Line",
            lines,
            key=session.LINE,
            bind="query-params",
            persist_state="session",  # beyond a login in between
            label_visibility="collapsed",
            width=260,
        )


def _person() -> None:
    person = session.me()
    with (
        st.container(horizontal=True, horizontal_alignment="right"),
        st.popover(formats.plain(person.account), icon=":material/person:", key="who"),
    ):
        st.caption(f"{formats.plain(person.account)} is {person.role} here")
        st.button("Log out", on_click=login.leave, key="logout", icon=":material/logout:")


main()
