import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inspection.core.errors import ConfigError
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.settings import StationConfig
from inspection.station.wiring import make_outputs, make_source, make_web
from tests.station.rig import configure

pytestmark = pytest.mark.fast

WEB = {"host": "127.0.0.1"}
PUSH = {"kind": "push", "token_file": "push.token"}
OURS = ("inspection.station.sources.push", "inspection.station.web", "inspection.station.outputs")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Hide a library as on a plain install, and what of ours imported it already."""

    def hide(library: str) -> None:
        for name in [name for name in sys.modules if name.startswith(OURS)]:
            if not name.endswith((".settings", ".output", "outputs", "web")):
                monkeypatch.delitem(sys.modules, name)
        for name in [name for name in sys.modules if name.split(".")[0] == library]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, library, None)

    return hide


def outputs(config: StationConfig) -> object:
    """Make the outputs."""
    return make_outputs(config, lambda _: [])


def source(config: StationConfig) -> object:
    """Make the source."""
    return make_source(config, [], SYSTEM_CLOCK)


def web(config: StationConfig) -> object:
    """Make the web address of a station whose source needs no library."""
    return make_web(config, NotImplemented, NotImplemented)


@pytest.mark.parametrize(
    ("library", "make", "changes", "what"),
    [
        ("paho", outputs, {"outputs": [{"kind": "mqtt", "host": "127.0.0.1"}]}, "output mqtt"),
        ("anyio", source, {"source": PUSH, "web": WEB}, "source push"),
        ("starlette", source, {"source": PUSH, "web": WEB}, "source push"),
        ("anyio", web, {"web": WEB}, "`web`"),
        ("uvicorn", web, {"web": WEB}, "`web`"),
        ("prometheus_client", web, {"web": WEB}, "`web`"),
    ],
)
def test_missing_library_names_the_extra_of_a_station(
    tmp_path: Path,
    without: Callable[[str], None],
    library: str,
    make: Callable[[StationConfig], object],
    changes: dict[str, object],
    what: str,
):
    """Whatever of the configuration needs it, the remedy is never the trainer."""
    (tmp_path / "in").mkdir()
    without(library)
    wanted = (
        rf'^{library}[.\w]* is not installed; {what} needs it: pip install "inspection\[station\]"$'
    )
    with pytest.raises(ConfigError, match=wanted):
        make(configure(tmp_path, **changes))


def test_station_of_a_folder_needs_no_extra(tmp_path: Path, without: Callable[[str], None]):
    """A watched folder, CSV and stdout work on the plain install; no web address opens no port."""
    (tmp_path / "in").mkdir()
    for library in ("anyio", "asyncua", "httpx", "paho", "pymodbus", "starlette", "uvicorn"):
        without(library)
    csv = {"kind": "csv", "path": tmp_path / "events.csv"}
    config = configure(tmp_path, outputs=[{"kind": "stdout"}, csv])
    assert [output.name for output in make_outputs(config, lambda _: [])] == ["stdout", "csv"]
    assert source(config)
    assert web(config) is None
