"""Configuration: every wrong line is named at once, and nothing is read as what it is not."""

import math
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, StrictFloat, StrictInt, ValidationError

from inspection.core.config import Settings, _Loader, load_config, parse_config
from inspection.core.errors import ConfigError
from inspection.core.settings import ExportConfig, TrainConfig

pytestmark = pytest.mark.fast


class Light(Settings):
    """A lamp."""

    level: StrictFloat = 0.5
    pulses: StrictInt = 1


class Folder(Settings):
    """A source of the kind folder."""

    kind: Literal["folder"]
    path: str


class Camera(Settings):
    """A source of the kind camera."""

    kind: Literal["camera"]
    exposure_us: StrictInt
    lamps: tuple[Light, ...] = ()


class Line(Settings):
    """A line with nested, listed and tagged parts."""

    name: str = "line"
    light: Light = Field(default_factory=Light)
    lamps: tuple[Light, ...] = ()
    point: tuple[float, float] = (0.0, 0.0)
    source: Annotated[Folder | Camera, Field(discriminator="kind")] | None = None


def _refused(text: str, model: type[Settings] = Line) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, model, "line.yaml")
    return str(caught.value).splitlines()


MISSPELT = {
    "top level": ("name: a\nlihgt:\n  level: 1\n", "2: lihgt", "light"),
    "nested": ("name: a\nlight:\n  pulses: 1\n  lvell: 1\n", "4: light.lvell", "level"),
    "in a list": ("lamps:\n- level: 1\n- pulse: 2\n", "3: lamps.1.pulse", "pulses"),
    "in a tagged union": (
        "source:\n  kind: camera\n  exposure_us: 5\n  lamsp: []\n",
        "4: source.camera.lamsp",
        "lamps",
    ),
    "in a list within a tagged union": (
        "source:\n  kind: camera\n  exposure_us: 5\n  lamps:\n  - level: 1\n    pulsse: 2\n",
        "6: source.camera.lamps.0.pulsse",
        "pulses",
    ),
    "flow style": ("{name: a, light: {lvel: 1}}", "1: light.lvel", "level"),
}


@pytest.mark.parametrize(("text", "where", "meant"), MISSPELT.values(), ids=MISSPELT)
def test_misspelt_key_is_named_with_its_line_and_the_key_that_was_meant(text, where, meant):
    """A misspelt key is refused with its line, its path and the nearest key allowed there."""
    assert _refused(text) == [f"line.yaml:{where}: unknown key; did you mean '{meant}'?"]


def test_key_like_no_other_gets_no_suggestion():
    """A key that resembles nothing is refused without a guess."""
    assert _refused("zzzz: 1\n") == ["line.yaml:1: zzzz: unknown key"]


def test_a_key_is_not_suggested_from_another_level():
    """The suggestion comes from the keys allowed at that place, not from the whole file."""
    assert _refused("lamps: []\nlight:\n  lamp: 1\n") == ["line.yaml:3: light.lamp: unknown key"]


DUPLICATES = {
    "top level": (
        "name: a\npoint: [0, 1]\nname: b\n",
        ["line.yaml:3: 'name' stands already on line 1; keep one"],
    ),
    "nested": (
        "light:\n  level: 1\n\n  level: 2\n",
        ["line.yaml:4: 'level' stands already on line 2; keep one"],
    ),
    "in a list": (
        "lamps:\n- level: 1\n- level: 2\n  level: 3\n",
        ["line.yaml:4: 'level' stands already on line 3; keep one"],
    ),
    "three times": (
        "name: a\nname: b\nname: c\n",
        [
            "line.yaml:2: 'name' stands already on line 1; keep one",
            "line.yaml:3: 'name' stands already on line 2; keep one",
        ],
    ),
}


@pytest.mark.parametrize(("text", "messages"), DUPLICATES.values(), ids=DUPLICATES)
def test_key_that_stands_twice_is_refused_with_both_lines(text, messages):
    """A repeated key is refused naming both lines; neither value silently wins."""
    assert _refused(text) == messages


def test_several_problems_are_told_at_once_in_the_order_of_the_file():
    """All problems of a file stand in one error, sorted by line."""
    text = "naame: a\nsource:\n  kind: camera\nlight:\n  pulses: 1.5\n  level: bright\n"
    assert _refused(text) == [
        "line.yaml:1: naame: unknown key; did you mean 'name'?",
        "line.yaml:2: source.camera.exposure_us: Field required",
        "line.yaml:5: light.pulses: Input should be a valid integer",
        "line.yaml:6: light.level: Input should be a valid number",
    ]


WRONG = {
    "true is not a text": ("name: true\n", "1: name: Input should be a valid string"),
    "a date is not a text": ("name: 2024-01-31\n", "1: name: Input should be a valid string"),
    "true is not an int": ("light: {pulses: true}\n", "1: light.pulses: Input should be a valid"),
    "a whole float is not an int": ("light: {pulses: 1.0}\n", "1: light.pulses: Input should be"),
    "a text is not an int": ("light: {pulses: '1'}\n", "1: light.pulses: Input should be a valid"),
    "yes is not a number": (
        "light:\n  level: yes\n",
        "2: light.level: Input should be a valid number",
    ),
    "NaN": ("light:\n  level: .nan\n", "2: light.level: Input should be a finite number"),
    "infinity": ("light:\n  level: -.inf\n", "2: light.level: Input should be a finite number"),
    "a number as a text": ("light:\n  level: '0.5'\n", "2: light.level: Input should be a valid"),
    "empty section": ("name: a\nlight:\n", "2: light: Input should be a valid dictionary"),
    "list for a section": ("light: [1]\n", "1: light: Input should be a valid dictionary"),
    "text for a list": ("lamps: all\n", "1: lamps: Input should be a valid tuple"),
    "wrong item of a list": ("lamps:\n- level: 1\n- 3\n", "3: lamps.1: Input should be a valid"),
    "point without y": ("name: a\npoint: [0.5]\n", "2: point.1: Field required"),
    "unknown tag": ("source:\n  kind: scanner\n", "1: source: Input tag 'scanner' found using"),
    "no tag": ("name: a\nsource:\n  path: x\n", "2: source: Unable to extract tag using"),
    "wrong value behind a tag": (
        "source:\n  kind: folder\n  path: 3\n",
        "3: source.folder.path: Input should be a valid string",
    ),
    "number as a key": ("1: a\n", "1: 1: Keys should be strings"),
    "list": ("- a\n- b\n", "1: found a list; wanted keys and values"),
    "text": ("just words\n", "1: found a str; wanted keys and values"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_value_is_refused_with_its_line(text, message):
    """A value of another kind is refused at its line, never turned into the kind wanted."""
    (found,) = _refused(text)
    assert found.startswith(f"line.yaml:{message}")


NOT_YAML = {
    "unclosed list": ("name: [a\n", "line 2, column 1"),
    "tab": ("light:\n\tlevel: 1\n", "line 2, column 1"),
    "two documents": ("name: a\n---\nname: b\n", "single document"),
    "python object": ("name: !!python/object/apply:os.system [ls]\n", "could not determine"),
    "month 99": ("name: 2024-99-01\n", "month must be in 1..12"),
    "hexadecimal without digits": ("name: 0x_\n", "invalid literal"),
    "a list within itself": ("name: &a [*a]\n", "recursion"),
    "unhashable key": ("? [a]\n: 1\n", "unhashable key"),
}


@pytest.mark.parametrize(("text", "reason"), NOT_YAML.values(), ids=NOT_YAML)
def test_what_is_not_yaml_is_a_configuration_error(text, reason):
    """Whatever YAML cannot read is one refusal that names the file, never a traceback."""
    with pytest.raises(ConfigError, match=rf"^line\.yaml: not YAML: (?s:.)*{re.escape(reason)}"):
        parse_config(text, Line, "line.yaml")


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.1e-2", "+1e-3", "0.001", "1_0e-4"])
def test_small_numbers_are_numbers_however_they_are_written(text):
    """`1e-3` without a point is one thousandth, as in YAML 1.2."""
    assert parse_config(f"light: {{level: {text}}}\n", Line, "line.yaml").light.level == 0.001


def test_an_option_of_any_kind_gets_the_number_and_not_its_text():
    """A field that takes text as well gets `1e-3` as a float; quoted it stays a text."""
    text = "model_options: {lr: 1e-3, name: '1e-3', on: true, steps: 3}\n"
    options = parse_config(text.replace("on:", "'on':"), TrainConfig, "train.yaml").model_options
    assert options == {"lr": 0.001, "name": "1e-3", "on": True, "steps": 3}
    assert [type(value) for value in options.values()] == [float, str, bool, int]


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "{}\n", "\ufeff"])
@pytest.mark.parametrize("model", [TrainConfig, ExportConfig, Line])
def test_empty_file_gives_the_defaults(text, model):
    """A file without keys is the configuration with all defaults."""
    assert parse_config(text, model, "any.yaml") == model()


def test_file_is_read_with_its_name_in_the_complaint(tmp_path: Path):
    """load_config names the file and reads text beyond ASCII as UTF-8."""
    path = tmp_path / "line.yaml"
    path.write_text("name: Prüfplatz\n", encoding="utf-8")
    assert load_config(path, Line) == Line(name="Prüfplatz")
    path.write_text("\nnaem: a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}:2: naem: unknown key; did"):
        load_config(path, Line)


def _nothing(_path: Path) -> None:
    pass


UNREADABLE = {
    "missing": (_nothing, "No such file"),
    "a folder": (Path.mkdir, "is no regular file"),
    "not UTF-8": (lambda path: path.write_bytes(b"name: Pr\xfcf\n"), "can't decode byte 0xfc"),
}


@pytest.mark.parametrize(("make", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_file_that_cannot_be_read_is_named(tmp_path: Path, make, reason):
    """A missing or unreadable file is refused naming the path, the reason and the remedy."""
    make(tmp_path / "line.yaml")
    with pytest.raises(ConfigError, match=rf"line\.yaml: cannot be read .*{reason}.*name a YAML"):
        load_config(tmp_path / "line.yaml", Line)


def test_settings_cannot_be_changed_after_birth():
    """A configuration is frozen."""
    with pytest.raises(ValidationError, match="frozen"):
        Line().name = "other"


@given(st.lists(st.sampled_from(sorted(Line.model_fields)), unique=True), st.integers(0, 4))
def test_the_line_is_that_of_the_key_wherever_it_stands(names, at):
    """The reported line is the misspelt key's own, whatever stands before it."""
    at = min(at, len(names))
    values = {"name": "a", "light": "\n  level: 2\n", "lamps": "\n- level: 1\n- level: 2\n"}
    values |= {"point": "[0, 1]", "source": "\n  kind: folder\n  path: x\n"}
    before = "".join(f"{name}: {values[name].rstrip()}\n" for name in names[:at])
    after = "".join(f"{name}: {values[name].rstrip()}\n" for name in names[at:])
    (found,) = _refused(before + "xyzzy: 1\n" + after)
    assert found == f"line.yaml:{before.count(chr(10)) + 1}: xyzzy: unknown key"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:00", "22:00"),
        ("6:30", "6:30"),
        ("1:30.5", "1:30.5"),
        *(("12", 12), ("-3", -3), ("0x1F", 31), ("0", 0), ("1_000", 1000), ("08", "08")),
        *(("1e-3", 0.001), ("1E5", 1e5), ("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0)),
        *(("127.0.0.1", "127.0.0.1"), ("12a", "12a"), ("-.inf", -math.inf)),
    ],
)
def test_numbers_are_those_of_yaml_1_2(text, value):
    found = yaml.load(f"x: {text}", Loader=_Loader)["x"]
    assert (found, type(found)) == (value, type(value))


def test_off_is_a_word():
    """YAML 1.1 took off, no and yes for booleans; a guard is switched `off`."""

    class Words(Settings):
        guard: str
        flag: bool

    found = parse_config("guard: off\nflag: true", Words, "x")
    assert (found.guard, found.flag) == ("off", True)
