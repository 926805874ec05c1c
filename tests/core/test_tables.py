import csv
import io
from pathlib import Path

import pytest

from inspection.core import tables
from inspection.core.tables import csv_cell, csv_lines

pytestmark = pytest.mark.fast
PACKAGE = Path(tables.__file__).parents[1]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|'/c calc'!A1", "'+cmd|'/c calc'!A1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "' =1"),
        ("\r=1", "' =1"),
        ("\n=1", "' =1"),
        ("\x00=1", "' =1"),
        ("  =1", "'  =1"),
        ("\u00a0=1", "'\u00a0=1"),
        ("＝1", "'＝1"),
        ("＋1+1", "'＋1+1"),
        ("－1+1", "'－1+1"),
        ("＠A1", "'＠A1"),
        ('"=1', "'\"=1"),
        ("'=1", "''=1"),
        ("x;=1", "x;'=1"),
        ('x; "=1', "x;' \"=1"),
        ("a\u2028b", "a b"),
    ],
)
def test_a_text_is_no_formula(text: str, cell: str):
    """It begins with an apostrophe, also where a program parts cells at semicolons."""
    assert csv_cell(text) == cell
    assert next(csv.reader(io.StringIO(csv_lines([["first", text]])))) == ["first", cell]


@pytest.mark.parametrize(
    "value", [-3, -0.5, "-3", "-0.5", "+1e-05", "part-1", "a=b", "Bügel, 5 mm", "a; b", "", None]
)
def test_numbers_and_other_texts_stay_as_they_are(value: object):
    """Negative numbers, too, as numbers or as text."""
    assert csv_cell(value) == value


def test_lines_are_rows():
    """Line ends within a text become blanks; what holds a comma or a quote is quoted."""
    assert csv_lines([["a", -1, None], ['"b",', "c\r\nd", 0.5]]) == 'a,-1,\n"""b"",",c  d,0.5\n'


def test_csv_is_written_in_one_place():
    """Whatever else writes rows could forget what a formula is."""
    writers = [
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if any(word in path.read_text() for word in ("csv.writer", "DictWriter", ".to_csv"))
    ]
    assert writers == ["core/tables.py"]
