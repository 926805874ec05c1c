import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "inspection"
TRAINER = {
    *("torch", "torchvision", "anomalib", "lightning", "nncf", "sklearn", "scipy", "pandas"),
    *("streamlit", "matplotlib", "timm", "transformers"),
}
OFFICE = {"sqlalchemy", "alembic", "fastapi", "argon2", "jwt", "altair", "streamlit", "authlib"}
SMELLS = {"utils", "helpers", "common", "base", "manager"}
# Where everything is caught: one frame, one picture, one file, and the top of each thread.
CATCHERS = {
    "inspection/cli/main.py",
    "inspection/retraining/rolling.py",
    "inspection/station/frames/fuse.py",
    "inspection/station/look.py",
    "inspection/station/outputs/courier.py",
    "inspection/station/pictures.py",
    "inspection/station/pool.py",
    "inspection/station/recipes/recognising.py",
    "inspection/station/recipes/thresholds.py",
    "inspection/station/recipes/updates.py",
    "inspection/station/sources/folder.py",
    "inspection/station/sources/reader.py",
    "inspection/station/tasks.py",
}
# What runs with each extra alone; the plain install is a line station.
RUNS = {
    "": "inspection.cli.main, inspection.bundles.judging, inspection.bundles.store, "
    "inspection.station.service",
    "station": "inspection.station.outputs.hub, inspection.station.recipes.hub, "
    "inspection.station.outputs.opcua, inspection.station.outputs.mqtt, "
    "inspection.station.outputs.modbus, inspection.station.web.server",
    "hub": "inspection.hub.service, inspection.hub.backup, inspection.hub.retention",
    "fleet": "inspection.retraining.cluster, inspection.retraining.rejudge",
    "dashboard": "inspection.dashboard.server, "
    + ", ".join(
        f"inspection.dashboard.views.{path.stem}"
        for path in sorted((ROOT / "apps/dashboard/views").glob("[!_]*.py"))
    ),
}


def modules() -> Iterator[Path]:
    """Give every module of the package."""
    yield from sorted(PACKAGE.rglob("*.py"))


def loaded_by(script: str, folder: Path = ROOT) -> set[str]:
    """Give the top-level modules that a fresh interpreter has loaded after a script."""
    script += "\nimport sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=folder
    )
    return set(ended.stdout.splitlines()[-1].split())


# Ways to open a file that wait for a FIFO, follow a link, or read however much there is.
RAW_READS = {
    *("read_text", "read_bytes", "imread", "fromfile", "memmap", "loadtxt", "genfromtxt"),
    *("copyfile", "copy2", "copytree"),
}
READERS = ("bundles", "core", "data", "detectors", "hub", "masks", "recognition", "station")
MEANT = {  # by module and what is called
    "core/limits.py os.open": "the one way to open a file from outside",
    "core/folders.py os.open": "makes folders and files of its own durable",
    "core/folders.py shutil.copyfile": "of the project's own files, where no link is possible",
    "core/records.py os.open": "makes a folder durable",
    "core/imaging.py Image.open": "of bytes, taken apart before",
    "core/origin.py Path('/proc/cpuinfo').read_text": "the kernel's",
    "bundles/saving.py stored.open": "within an archive in memory",
    "data/archive.py packed.open": "within an archive a person fetched",
    "data/archive.py tarfile.open": "an archive a person fetched, read as a stream",
    "data/fetch.py partial.open": "goes on with its own download",
    "hub/artefacts.py os.open": "makes a folder durable",
    "hub/artefacts.py self._files.open": "the hub's own store",
    "station/outputs/csv.py os.open": "makes a folder durable",
    "station/outputs/hub.py self._endpoint.open": "a connection",
    "station/outputs/shadows.py self._endpoint.open": "a connection",
    "station/outputs/webhook.py self._endpoint.open": "a connection",
    "station/shadow.py scorer.open": "a process",
    "station/sources/reader.py self._camera.open": "a camera",
    "station/web/server.py (folder / name).read_text": "the package's own pages",
}


def raw_reads(path: Path) -> Iterator[str]:
    """Give what a module calls to read a file, but for the ways of core.limits."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        modes = [one.value for one in node.args if isinstance(one, ast.Constant)]
        writes = any(isinstance(mode, str) and mode[:1] in {*"wxa"} for mode in modes)
        if called == "read_bytes":  # of core.imaging, within limits
            continue
        if name in RAW_READS or (name == "open" and not writes and "r+b" not in modes):
            yield f"{path.relative_to(PACKAGE).as_posix()} {called}"


def test_files_from_outside_are_read_within_limits():
    """Where somebody else may have put a file, only core.limits opens it: regular, no link, capped.

    What is meant otherwise stands in a list with its reason, and nothing stands there in vain.
    """
    paths = [path for stage in READERS for path in sorted((PACKAGE / stage).rglob("*.py"))]
    found = {read for path in paths for read in raw_reads(path)}
    assert found == MEANT.keys()


def test_layers_are_kept():
    """Data flows one way: the import-linter contract of pyproject.toml holds."""
    # in a process of its own, because it switches off every logger that is there
    script = (
        "import sys; from importlinter.cli import lint_imports_command as lint; lint(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, "--no-cache"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120, capture_output=True)


def test_station_and_bundles_load_nothing_of_the_trainer():
    """A fresh interpreter that imports station, bundles and core loads no trainer and no hub."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for stage in ("core", "bundles", "masks", "station")
        for path in sorted((PACKAGE / stage).glob("[!_]*.py"))
    ]
    assert len(names) > 20
    assert loaded_by("\n".join(f"import {name}" for name in names)) & (TRAINER | OFFICE) == set()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["judge", "--help"],
        ["station", "run", "--help"],
        ["bundle", "list", "docs"],
        ["judge", "docs", "x.png"],
        ["station", "run", "configs/station.yaml"],
        ["config", "describe"],
        ["dataset", "fetch", "mvtec", "bottle", "--out", "sets", "--dry-run"],
    ],
    ids=" ".join,
)
def test_commands_of_a_line_load_nothing_of_the_trainer(words: list[str], tmp_path: Path):
    """Help and the commands of a line PC neither load nor need torch and its kin."""
    words = [str(ROOT / word) if (ROOT / word).exists() else word for word in words]
    script = f"from inspection.cli.main import run\nrun({words})"
    assert loaded_by(script, tmp_path) & (TRAINER | OFFICE) == set()


def brought_by(extra: str) -> set[str]:
    """Give the names of all distributions that an install with one extra, or none, brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].get(extra, [])
    wanted = [Requirement(line) for line in [*project["dependencies"], *extras]]
    brought: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        needed = wanted.pop()
        found = plain(needed.name), frozenset(needed.extras)
        if found not in brought:
            brought.add(found)
            for one in map(Requirement, distribution(needed.name).requires or ()):
                marked = [{"extra": chosen} for chosen in ("", *needed.extras)]
                if one.marker is None or any(map(one.marker.evaluate, marked)):
                    wanted.append(one)
    return {name for name, _ in brought}


def plain(name: str) -> str:
    """Give the name of a distribution as comparisons want it."""
    return re.sub("[-_.]+", "-", name).lower()


@pytest.mark.parametrize("extra", RUNS)
def test_an_install_brings_all_that_runs_with_it(extra: str):
    """An interpreter that can import nothing else of what is installed here imports it."""
    brought = brought_by(extra) | {"inspection"}
    absent = sorted(
        module
        for module, owners in packages_distributions().items()
        if not brought & set(map(plain, owners)) and module not in {"inspection", "tests"}
    )
    assert {"torch", "pytest"} <= set(absent)
    script = (
        f"import sys\nfor name in {absent}:\n    sys.modules[name] = None\nimport {RUNS[extra]}"
    )
    assert "inspection" in loaded_by(script)


def test_every_distribution_of_the_extras_is_pinned():
    """What is installed is what was tested; torch names its own CUDA packages."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {plain(line.split("==")[0]) for line in lines}
    for extra in RUNS:
        assert brought_by(extra) - pinned == set()


def test_everything_is_caught_in_few_places_only():
    """All errors are taken around one frame, part, file or challenger and atop a thread only."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and not isinstance(node.body[-1], ast.Raise)
    }
    assert found == CATCHERS


def test_package_files_are_empty():
    """Names are imported from the module that owns them; the first file only keeps us private."""
    filled = [path for path in PACKAGE.rglob("__init__.py") if path.read_text().strip()]
    assert filled == [PACKAGE / "__init__.py"]


def test_one_core_per_process():
    """A second OpenVINO core leaves a freed signal stack behind, see `openvino_core`."""
    makers = [path for path in PACKAGE.rglob("*.py") if "Core()" in path.read_text()]
    assert makers == [PACKAGE / "bundles/graph.py"]


def test_no_function_is_longer_than_50_lines():
    """One page, docstring aside; a migration is a list of columns."""
    long = {
        f"{path.name}:{node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and _body_lines(node) > 50
        and "migrations" not in path.parts
    }
    assert long == set()


def test_no_module_is_named_after_nothing():
    """utils, helpers, common, base and manager say nothing of what they own."""
    assert {path.stem for path in modules()} & SMELLS == set()


def test_nothing_is_asserted_or_printed_outside_tests():
    """Assert vanishes under -O; results go through typer.echo."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Assert), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", path


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _body_lines(node: ast.FunctionDef) -> int:
    first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
    return (node.body[-1].end_lineno or 0) - first.lineno + 1


def test_every_folder_of_tests_is_run_by_make():
    """A folder that no part names would pass by never being run."""
    makefile = (ROOT / "Makefile").read_text()
    parts = re.search(r"^PARTS := (.*)$", makefile, re.MULTILINE)
    named = set(re.findall(r"tests/(\w+)", makefile))
    named |= set(parts[1].split()) if parts else set()
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - named == set()
