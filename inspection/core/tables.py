"""Writes rows as CSV that spreadsheets may open: a text in it is never taken for a formula."""

import csv
import io
import re
from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
# Where a cell begins, for programs that part cells at semicolons, too; spreadsheets set to East
# Asian languages read the full-width signs as the others (OWASP, "CSV Injection").
_FORMULA = re.compile(r"""(?:^|(?<=;))(?=[\s"']*[=+\-@＝＋－＠])""")


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    r"""Give rows as CSV, one line each, ended by `\n` and with control characters nowhere else.

    A text that a spreadsheet would take for a formula begins with an apostrophe; numbers, negative
    ones and those written as text included, stay as they are.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(csv_cell, row) for row in rows)
    return text.getvalue()


def csv_cell(value: object) -> object:
    """Give what `csv_lines` writes for a value, as a reader of the file finds it."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    return _FORMULA.sub("'", _CONTROL.sub(" ", str(value)))
