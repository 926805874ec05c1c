from pathlib import Path

import pytest

from inspection.core.config import load_config, parse_config
from inspection.core.errors import ConfigError
from inspection.station.settings import StationConfig

pytestmark = pytest.mark.fast

SHIPPED = Path(__file__).parents[2] / "configs" / "station.yaml"


def test_shipped_file_states_every_default():
    """configs/station.yaml names every key, each with the value that holds without the file."""
    assert load_config(SHIPPED, StationConfig) == StationConfig()
    text = SHIPPED.read_text(encoding="utf-8")
    assert [key for key in StationConfig.model_fields if f"\n{key}:" not in f"\n{text}"] == []


def test_every_key_has_its_comment():
    """A technician reads above each key of configs/station.yaml what it does."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    keys = [i for i, line in enumerate(lines) if line[:1].isalpha()]
    assert [lines[i] for i in keys if not lines[i - 1].startswith("#")] == []


def test_misspelt_key_is_named_with_line_and_suggestion():
    """A misspelt key is refused with its line and the key that was meant."""
    with pytest.raises(ConfigError, match=r"station\.yaml:2: setle_ms: .* mean 'settle_ms'"):
        parse_config("poll_ms: 5\nsetle_ms: 10\n", StationConfig, "station.yaml")


@pytest.mark.parametrize(
    ("source", "data_dir"),
    [("parts", "parts/out"), ("parts/in", "parts"), ("parts", "parts"), ("parts/../x", "x/y")],
    ids=["data within source", "source within data", "the same", "the same after .."],
)
def test_overlays_cannot_become_parts(source: str, data_dir: str):
    """The watched folder and the data folder may not contain each other."""
    with pytest.raises(ConfigError, match="overlays would be judged as parts"):
        parse_config(f"source: {source}\ndata_dir: {data_dir}\n", StationConfig, "station.yaml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("overlay_for: [FAULT]", "overlay_for.0"),
        ("suffixes: [png]", "suffixes.0"),
        ("suffixes: []", "suffixes"),
        ("trusted_keys: [abc]", "trusted_keys.0"),
        ("deadline_ms: 0", "deadline_ms"),
        ("once: 1", "once"),
        ("line: no", "line"),
    ],
)
def test_senseless_value_is_refused(text: str, complaint: str):
    """A value without meaning is refused and its key named."""
    with pytest.raises(ConfigError, match=f"station.yaml:1: {complaint}: "):
        parse_config(text, StationConfig, "station.yaml")
