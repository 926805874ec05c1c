from pathlib import Path

import pytest

from inspection.core.config import load_config, parse_config
from inspection.core.decision import Verdict
from inspection.core.errors import ConfigError
from inspection.station.outputs.settings import Action, ActionSettings
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
    with pytest.raises(ConfigError, match=r"station\.yaml:3: source.* mean 'settle_ms'"):
        parse_config("source:\n  kind: folder\n  setle_ms: 10\n", StationConfig, "station.yaml")


@pytest.mark.parametrize(
    ("source", "data_dir"),
    [("parts", "parts/out"), ("parts/in", "parts"), ("parts", "parts"), ("parts/../x", "x/y")],
    ids=["data within source", "source within data", "the same", "the same after .."],
)
def test_overlays_cannot_become_parts(source: str, data_dir: str):
    """The watched folder and the data folder may not contain each other."""
    text = f"source: {{kind: folder, path: {source}}}\ndata_dir: {data_dir}\n"
    with pytest.raises(ConfigError, match="overlays would be judged as parts"):
        parse_config(text, StationConfig, "station.yaml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("spool: {overlay_for: [FAULT]}", "spool.overlay_for.0"),
        ("source: {kind: folder, suffixes: [png]}", "source.folder.suffixes.0"),
        ("source: {kind: folder, suffixes: []}", "source.folder.suffixes"),
        ("source: {kind: folder, once: 1}", "source.folder.once"),
        ("source: {kind: folder, name_pattern: '.+'}", "source.folder.name_pattern"),
        ("source: {kind: folder, name_pattern: '(?P<part>'}", "source.folder.name_pattern"),
        ("source: {path: parts}", "source"),
        ("trusted_keys: [abc]", "trusted_keys.0"),
        ("deadline_ms: 0", "deadline_ms"),
        ("line: 1", "line"),
        ("recipes: {}", "recipes"),
        ("actions: {safe: release}", "actions.safe"),
        ("guards: {focus: PASS}", "guards.focus"),
        ("outputs: [{kind: mqtt, topic: a/#}]", "outputs.0.mqtt.topic"),
        ("outputs: [{kind: fax}]", "outputs.0"),
    ],
)
def test_senseless_value_is_refused(text: str, complaint: str):
    """A value without meaning is refused and its key named."""
    with pytest.raises(ConfigError, match=f"station.yaml:1: {complaint}: "):
        parse_config(text, StationConfig, "station.yaml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("outputs: [{kind: stdout}, {kind: stdout}]", "the name 'stdout' stands twice"),
        ("source: {kind: push, token_file: t}", "source push needs `web`"),
        ("actions: {review: release}", "guards.exposure is REVIEW: a frame that cannot"),
        (
            "source: {kind: cameras, trigger: {kind: modbus}}",
            "trigger modbus needs one output of kind modbus",
        ),
        (
            "source: {kind: cameras, cameras: {top: {}}}",
            "recipe 'default' has cameras main; the source has top",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(text: str, complaint: str):
    """Settings that are sound alone may contradict each other."""
    with pytest.raises(ConfigError, match=complaint):
        parse_config(text, StationConfig, "station.yaml")


def test_actions_never_release_what_nobody_judged():
    """Only PASS is released by default; FAULT never is, whatever is configured."""
    actions = ActionSettings()
    assert [actions.of(verdict) for verdict in Verdict] == ["release", "reject", "reject", "reject"]
    lenient = ActionSettings(review=Action.RELEASE, safe=Action.HOLD)
    assert [lenient.of(verdict) for verdict in Verdict] == ["release", "release", "reject", "hold"]


def test_documents_and_unit_agree_on_the_restart_budget():
    """docs/operating.md says in words what the systemd unit says in numbers."""
    root = Path(__file__).parents[2]
    unit = (root / "configs" / "inspection-station@.service").read_text(encoding="utf-8")
    assert "StartLimitIntervalSec=900\nStartLimitBurst=10\n" in unit
    assert "OOMPolicy=continue\n" in unit
    documents = " ".join((root / "docs" / "operating.md").read_text(encoding="utf-8").split())
    assert "at most ten times in a quarter of an hour" in documents
