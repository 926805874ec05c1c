"""Asks why before something is done: the words stand in the audit log."""

from collections.abc import Callable

import streamlit as st

from inspection.dashboard.parts import errors, notice

Send = Callable[[str], str]


def ask(key: str, title: str, text: str, button: str, send: Send) -> None:
    """Open a dialog that does something once a person has said why.

    Args:
        key: as `field` takes it.
        title: of the dialog.
        text: what will happen, as Markdown.
        button: what its button says.
        send: as `field` takes it.
    """

    @st.dialog(title)
    def dialog() -> None:
        st.markdown(text)
        field(key, button, send)

    dialog()


def field(key: str, button: str, send: Send) -> None:
    """End a dialog with the field for the reason and the button.

    Args:
        key: of the widgets: the field is KEY-why, the button KEY-confirm.
        button: what it says.
        send: does it with the reason; gives what to say then.
    """
    why = st.text_input(
        "Why", key=f"{key}-why", placeholder="stands in the audit log", max_chars=1000
    )
    if st.button(button, type="primary", key=f"{key}-confirm", disabled=not why.strip()):
        with errors.shown():
            notice.done(send(why))
