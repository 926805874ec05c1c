"""The documents say what is there: commands, keys, files, variables; every link leads somewhere."""

import re
from pathlib import Path

import pytest

from inspection.bundles.signing import KEYS_VARIABLE
from inspection.cli.manual import FILES, describe_configs, describe_keys
from inspection.core.config import load_config
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.dashboard.settings import DashboardConfig
from inspection.hub.settings import HubConfig
from inspection.pretraining.settings import BackboneRecipe, SegmenterRecipe
from inspection.recognition.settings import RecogniseConfig
from inspection.retraining.candidates import TuneConfig
from inspection.retraining.settings import RetrainingConfig
from inspection.station.settings import StationConfig
from tests.test_cli import COMMANDS

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")])
CONFIGS = {
    "train.yaml": TrainConfig,
    "train-imagenet.yaml": TrainConfig,
    "train-stfpm.yaml": TrainConfig,
    "train-winclip.yaml": TrainConfig,
    "export.yaml": ExportConfig,
    "station.yaml": StationConfig,
    "hub.yaml": HubConfig,
    "retraining.yaml": RetrainingConfig,
    "tune.yaml": TuneConfig,
    "backbone.yaml": BackboneRecipe,
    "segmenter.yaml": SegmenterRecipe,
    "recognise.yaml": RecogniseConfig,
    "dashboard.yaml": DashboardConfig,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str):
    """docs/commands.md has a row for each command."""
    assert re.search(rf"^\| `inspection {name}[ `]", COMMANDS_PAGE, re.MULTILINE)


def test_every_documented_command_exists():
    """No document names a command that is not there."""
    groups = {
        " ".join(name.split()[:n]) for name in COMMANDS for n in range(1, name.count(" ") + 1)
    }
    named = r"(?:`|^)inspection ([a-z]+(?: [a-z][a-z-]*){0,2})"
    for page in PAGES:
        for words in (found.split() for found in re.findall(named, page.read_text(), re.M)):
            if words == ["retrain"]:  # a group that does something itself, with --if-due
                continue
            beginnings = (" ".join(words[: n + 1]) for n in range(len(words)))
            assert next(one for one in (*beginnings, "") if one not in groups) in COMMANDS, words


def test_every_key_of_every_configuration_is_documented():
    """docs/config.md is what the models say now; write it by `inspection config describe`."""
    assert (ROOT / "docs/config.md").read_text() == describe_configs()


@pytest.mark.parametrize("name", FILES)
def test_every_key_says_what_it_means(name: str):
    """No key of a configuration lacks its description."""
    silent = [key for key, *_, meaning in describe_keys(FILES[name]) if not meaning]
    assert silent == []


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_file_loads(name: str):
    """The files in configs/ fit their models as they stand."""
    assert load_config(ROOT / "configs" / name, CONFIGS[name]).model_fields_set


def test_every_configuration_file_is_known():
    """A file in configs/ that no model reads would be dead."""
    assert sorted(path.name for path in (ROOT / "configs").glob("*.yaml")) == sorted(CONFIGS)


@pytest.mark.parametrize("unit", sorted((ROOT / "configs").glob("*.service")), ids=lambda p: p.name)
def test_every_unit_starts_a_command_with_a_file_that_is_shipped(unit: Path):
    """A unit names a command, and its configuration lies in configs/; documents name the unit."""
    (started,) = re.findall(
        r"^ExecStart=\S+/inspection (.+?) \S*/(\S+\.yaml)", unit.read_text(), re.M
    )
    command, config = started
    assert command.removesuffix(" --config") in COMMANDS
    assert config in {*CONFIGS, "%i.yaml"}
    name = unit.name.removesuffix(".service")
    assert any(name in page.read_text() for page in PAGES)


def test_every_variable_of_the_environment_is_documented():
    """Whatever INSPECTION_ variable the code reads stands in README and docs/commands.md."""
    code = "".join(path.read_text() for path in (ROOT / "inspection").rglob("*.py"))
    variables = set(re.findall(r"\"(INSPECTION_[A-Z_]+)\"", code))
    assert KEYS_VARIABLE in variables
    for page in (README, COMMANDS_PAGE):
        assert set(re.findall(r"INSPECTION_[A-Z_]+", page)) == variables


def test_every_metric_of_drift_is_documented():
    """Whoever wants an alarm of his own finds the gauges of station and hub beside drift."""
    sources = ROOT / "inspection/station/web/metrics.py", ROOT / "inspection/hub/metrics.py"
    code = "".join(path.read_text() for path in sources)
    gauges = set(re.findall(r"\"(inspection_(?:image|drift)\w*)\"", code))
    assert {"inspection_drift_alarm", "inspection_image_shift"} <= gauges
    drift = (ROOT / "docs/retraining.md").read_text().split("\n## Drift\n")[1].split("\n## ")[0]
    assert {name for name in gauges if f"`{name}`" not in drift} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    """Relative links name files that exist."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_readme_is_one_screen():
    """What does not fit belongs into docs/."""
    assert len(README.splitlines()) <= 90


def test_no_file_names_a_place_on_one_machine():
    """Documents and configurations are the same everywhere."""
    for path in [
        *PAGES,
        *(ROOT / "configs").iterdir(),
        ROOT / "Makefile",
        ROOT / "constraints.txt",
    ]:
        assert not re.search(r"/(home|work|root|Users)/|file://", path.read_text()), path
