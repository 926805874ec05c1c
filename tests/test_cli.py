import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import ValidationError

from inspection.cli.main import DONE, FAULT, SAID_NO, WRONG_USE, app, explain
from inspection.core.errors import (
    BundleCorrupt,
    BundleError,
    CalibrationMissing,
    ConfigError,
    DatasetError,
    GateRefused,
    ImageError,
    InspectionError,
    SpoolFull,
    StationError,
    TrainingError,
)
from inspection.core.records import Manifest, Split, read_manifest
from inspection.core.settings import ExportConfig
from inspection.data.check import DatasetReport
from tests.command import done, inspection
from tests.synthetic import write_mvtec_tree

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[1]


def commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Give every command with its words, groups left out."""

    def within(commands: dict, before: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
        for word, command in commands.items():
            inner = getattr(command, "commands", None)
            if inner is None:
                yield f"{before}{word}", command
            else:
                yield from within(inner, f"{before}{word} ")

    yield from within(typer.main.get_command(app).commands, "")


COMMANDS = dict(commands())


def example_of(command: typer.core.TyperCommand) -> str:
    """Give the example a command's help ends with."""
    return " ".join((command.help or "").split("Example: ")[1].split())


def test_the_commands_are_those_of_the_main_path():
    """The command line has exactly these commands, none twice."""
    assert sorted(COMMANDS) == sorted(
        [
            *(f"dataset {word}" for word in ("make", "check", "split", "fetch")),
            *("train", "export", "gate", "judge", "report", "demo", "dashboard", "keys"),
            "replay",
            *(f"bundle {word}" for word in ("verify", "list", "show", "export")),
            *(f"thresholds {word}" for word in ("set", "parts", "list")),
            *(
                f"review {word}"
                for word in ("refine", "correct", "export", "convert", "carry", "tune-segmenter")
            ),
            *(f"station {word}" for word in ("run", "selftest", "status", "events", "replay")),
            *(f"hub {word}" for word in ("serve", "backup", "restore", "retention")),
            *(f"hub account {word}" for word in ("add", "list", "change")),
            *(f"hub station {word}" for word in ("enrol", "rotate", "revoke", "list")),
            *(f"hub bundle {word}" for word in ("add", "choose")),
            *(f"hub audit {word}" for word in ("verify", "export")),
            *(f"retrain {word}" for word in ("job", "step", "policy")),
            *(f"recognise {word}" for word in ("check", "train", "export", "import", "find")),
            "config describe",
            *(
                f"bench {word}"
                for word in ("latency", "coreset", "fit", "station", "choose", "cost")
            ),
            *(
                f"bench {word}"
                for word in ("faults", "frames", "soak", "refine", "thresholds", "hub")
            ),
            "tune",
            "compress",
            "bench compress",
            "weights train-backbone",
            "weights train-segmenter",
            "bench drift",
            "bench update",
            "bench fleet",
            "bench kill",
            "bench beside",
            "bench month",
            "bench weights",
            *(f"bench {word}" for word in ("engines", "parity", "recognise")),
            *(f"plant {word}" for word in ("run", "open", "stop")),
        ]
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_line_of_help_and_an_example_that_parses(name: str):
    """The first line says what it does; the example is taken by the command's own parser."""
    command = COMMANDS[name]
    first = (command.help or "").splitlines()[0]
    words = example_of(command).split(" > ")[0].split()
    assert first.endswith((".", "?")) or "? " in first
    assert words[: 1 + len(name.split())] == ["inspection", *name.split()]
    command.make_context(name, words[1 + len(name.split()) :])


def test_a_command_body_only_calls_one_function():
    """No command has more than 15 lines behind its docstring; logic lives in the stages."""
    for path in sorted((ROOT / "inspection/cli").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                last, first = node.body[-1].end_lineno or 0, node.body[1].lineno
                assert last - first < 15, f"{path.name}: {node.name}"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GateRefused("g"), SAID_NO),
        (BundleCorrupt("b"), SAID_NO),
        (BundleError("b"), SAID_NO),
        (CalibrationMissing("c"), SAID_NO),
        (ConfigError("c"), WRONG_USE),
        (DatasetError("d"), WRONG_USE),
        (ImageError("i"), WRONG_USE),
        (TrainingError("t"), FAULT),
        (StationError("s"), FAULT),
        (SpoolFull("s"), FAULT),
        (InspectionError("i"), FAULT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_exit_code(error: InspectionError, code: int):
    """1 is a check that said no, 2 wrong use or configuration, 3 a fault; the message stays."""
    assert explain(error) == (code, f"error: {error}")


def test_a_missing_extra_names_what_to_install():
    """A station install that is asked to train says which extra it needs, with exit 2."""
    error = ModuleNotFoundError("No module named 'torch'", name="torch")
    assert explain(error) == (
        2,
        "error: torch is not installed; this command needs the training extra: "
        'pip install "inspection[train]"',
    )


def test_a_cluster_without_dask_says_which_extra_it_needs():
    """Whatever the command, what is missing is told by its own extra."""
    error = ModuleNotFoundError("No module named 'dask'", name="dask")
    for group in ("replay", "retrain", "hub"):
        assert explain(error, group)[1].endswith(
            'this command needs the cluster extra: pip install "inspection[fleet]"'
        )


def test_a_bug_is_a_fault_that_says_how_to_see_more():
    """What is no InspectionError ends with 3 and names --debug."""
    assert explain(ValueError("odd")) == (3, "fault: ValueError: odd; --debug shows where")
    ours = ModuleNotFoundError("No module named 'inspection.x'", name="inspection.x")
    assert explain(ours)[0] == FAULT


def test_train_without_torch_says_which_extra_it_needs(tmp_path: Path):
    """In a fresh interpreter that has no torch, `inspection train` ends with 2 and one line."""
    (tmp_path / "train.yaml").write_text("seed: 1\n")
    script = (
        "import sys\n"
        "for name in ('torch', 'lightning', 'anomalib'): sys.modules[name] = None\n"
        "from inspection.cli.main import run\n"
        "sys.exit(run(['train', 'train.yaml', '--data', 'm.json', '--out', 'run']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert ended.returncode == 2
    assert 'needs the training extra: pip install "inspection[train]"' in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["nonsense"], ["train"], ["judge", "--nonsense", "b", "i"]])
def test_wrong_use_ends_with_two(words: list[str]):
    """An unknown command, a missing argument and an unknown option end with 2."""
    said = inspection(*words)
    assert (said.code, said.out) == (2, "")
    assert "Usage" in said.err


def test_a_misspelt_key_is_named_with_line_and_suggestion(tmp_path: Path):
    """The complaint has file, line, key and the nearest known key; exit 2, nothing is trained."""
    config = tmp_path / "export.yaml"
    config.write_text("precision: int8\ngate:\n  auroc_dropp: 0.1\n")
    said = inspection("export", tmp_path / "r", "--out", tmp_path / "b", "--config", config)
    assert said.code == 2
    expected = f"error: {config}:3: gate.auroc_dropp: unknown key; did you mean 'auroc_drop'?\n"
    assert said.err == expected


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path):
    """--debug, first or last, adds the traceback to the line; without it there is none."""
    plain = inspection("bundle", "list", tmp_path / "none")
    assert plain.code == 1
    assert plain.err == f"error: {tmp_path / 'none'}: no such folder; name one that holds bundles\n"
    for words in (["--debug", "bundle", "list"], ["bundle", "list", "--debug"]):
        said = inspection(*words, tmp_path / "none")
        assert "Traceback" in said.err
        assert said.err.endswith(plain.err)


def test_make_takes_its_options_and_refuses_others(tmp_path: Path):
    """`dataset make` writes what was asked for; an unknown product or count ends with 2."""
    counts = ("--train-good", 2, "--test-good", 1, "--per-defect", 0)
    said = done("dataset", "make", tmp_path / "set", "--product", "fabric", *counts, "--json")
    assert json.loads(said.out) == {"folder": str(tmp_path / "set")}
    files = sorted(path.name for path in (tmp_path / "set").rglob("*.png"))
    assert files == ["000.png", "000.png", "001.png"]
    wrong = inspection("dataset", "make", tmp_path / "other", "--product", "shoe")
    assert (wrong.code, wrong.err) == (
        2,
        "error: --product: found 'shoe'; wanted one of plate, fabric, board\n",
    )
    none = inspection("dataset", "make", tmp_path / "other", "--train-good", 0)
    assert none.code == 2
    assert "train_good" in none.err
    again = inspection("dataset", "make", tmp_path / "set", *counts)
    assert (again.code, "exists already" in again.err) == (2, True)


def test_check_of_a_sound_set_writes_its_manifest(tmp_path: Path):
    """A sound set ends with 0 and '0 problems', and leaves a manifest that reads."""
    root = write_mvtec_tree(tmp_path / "set", train_good=30)
    out = tmp_path / "m.json"
    said = done(
        *("dataset", "check", root, "--out", out),
        *("--false-reject-rate", 0.2, "--calibrate-share", 0.3),
    )
    assert "0 problems, 0 notes: sound" in said.out
    assert said.err == f"manifest written to {out}\n"
    assert len(read_manifest(out).entries) == 42


def test_check_of_an_unsound_set_writes_nothing_unless_told(tmp_path: Path):
    """Problems stand in a table, exit 1, no manifest; --accept-problems writes it and says so."""
    root = write_mvtec_tree(tmp_path / "set", train_good=8)
    (root / "train/good/bad.png").write_text("no picture")
    out = tmp_path / "m.json"
    said = inspection("dataset", "check", root, "--out", out)
    assert said.code == 1
    assert "problem  unreadable image" in said.out
    assert "2 problems, 0 notes: UNSOUND" in said.out
    assert said.err == f"{out} is not written; --accept-problems writes it all the same\n"
    assert not out.exists()
    accepted = inspection("dataset", "check", root, "--out", out, "--accept-problems")
    assert accepted.code == 0
    assert "with the problems above, as --accept-problems asked" in accepted.err
    assert len(read_manifest(out).entries) == 20


def test_check_speaks_json(tmp_path: Path):
    """--json gives the whole report, and nothing else on stdout."""
    root = write_mvtec_tree(tmp_path / "set")
    said = inspection("dataset", "check", root, "--json")
    report = DatasetReport.model_validate_json(said.out)
    assert (said.code, report.sound) == (1, False)


def test_a_folder_that_is_no_data_set_is_wrong_use(tmp_path: Path):
    """A folder of another layout ends with 2 and names the layouts; a missing one, too."""
    (tmp_path / "holiday").mkdir()
    said = inspection("dataset", "check", tmp_path / "holiday")
    assert said.code == 2
    assert "holiday: no data set; wanted one of MVTec AD" in said.err
    assert inspection("dataset", "check", tmp_path / "none").code == 2


def test_a_wrong_group_pattern_is_wrong_use(tmp_path: Path):
    """What is no regular expression, or a share above 1, is named with exit 2."""
    root = write_mvtec_tree(tmp_path / "set")
    said = inspection("dataset", "check", root, "--group", "(")
    assert (said.code, "no regular expression" in said.err) == (2, True)
    assert inspection("dataset", "check", root, "--calibrate-share", 1.5).code == 2
    assert inspection("dataset", "check", root, "--false-reject-rate", 0).code == 2


def test_split_moves_parts_and_dry_run_does_not(tmp_path: Path):
    """`dataset split` divides anew by its options; --dry-run shows the same and writes nothing."""
    root = write_mvtec_tree(tmp_path / "set", train_good=30)
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    done("dataset", "check", root, "--out", first, "--accept-problems")
    words = ("dataset", "split", first, "--out", second, "--calibrate-share", 0.5)
    shown = done(*words, "--dry-run")
    assert not second.exists()
    assert done(*words).out == shown.out
    calibrate = read_manifest(second).of(Split.CALIBRATE)
    assert len(calibrate) > len(read_manifest(first).of(Split.CALIBRATE))
    divided = Manifest.model_validate_json(done(*words, "--json").out)
    assert divided.sha256 == read_manifest(second).sha256


def test_fetch_shows_the_licence_first_and_dry_run_fetches_nothing(tmp_path: Path):
    """The licence stands on stderr before anything else; --dry-run leaves the folder unmade."""
    out = tmp_path / "sets"
    said = done("dataset", "fetch", "mvtec", "bottle", "--out", out, "--dry-run")
    assert "CC BY-NC-SA 4.0" in said.err
    assert "MVTec AD, category bottle" in said.err
    assert (said.out, out.exists()) == ("", False)
    assert inspection("dataset", "fetch", "imagenet", "cat", "--out", out).code == 2


def test_no_bundle_is_a_check_that_said_no(tmp_path: Path):
    """verify, show, judge and gate of a folder that is no bundle end with 1 and name the remedy."""
    for words in (["bundle", "verify"], ["bundle", "show"], ["gate"]):
        said = inspection(*words, tmp_path)
        assert said.code == SAID_NO
        assert "wanted a bundle made by inspection export" in said.err
    assert inspection("judge", tmp_path, tmp_path / "x.png").code == SAID_NO


def test_list_of_a_folder_without_bundles_says_zero(tmp_path: Path):
    """An empty folder is no error; the count is printed."""
    assert done("bundle", "list", tmp_path).out == "0 bundles\n"
    assert json.loads(done("bundle", "list", tmp_path, "--json").out) == []


def test_describe_prints_the_document():
    """`config describe` prints docs/config.md as it stands."""
    assert done("config", "describe").out == (ROOT / "docs/config.md").read_text()


def test_exit_codes_are_the_documented_ones():
    """The numbers are part of the interface."""
    assert (DONE, SAID_NO, WRONG_USE, FAULT) == (0, 1, 2, 3)


def test_settings_refuse_what_yaml_could_not_hold():
    """The models behind the options refuse NaN, so that no option can smuggle it in."""
    with pytest.raises(ValidationError, match="finite"):
        ExportConfig(false_reject_rate=float("nan"))


def test_bench_outside_a_checkout_says_where_benches_are():
    """The plain install has none: no traceback, no training extra that would not help."""
    code, line = explain(ModuleNotFoundError("no", name="inspection.bench.fit"))
    assert code == WRONG_USE
    assert "benches are not installed; wanted the project's checkout" in line
