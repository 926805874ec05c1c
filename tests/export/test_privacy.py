import subprocess
import sys

PRIVATE = """
import inspection.bundles.bundle, nncf, sys
import openvino.tools.ovc.convert_impl as converter
from nncf.telemetry.wrapper import telemetry
print(converter.tm.__name__, type(telemetry).__name__)
print([name for name in sys.modules if name.startswith("openvino_telemetry.")])
"""


def test_nothing_is_reported_to_anybody():
    """OpenVINO and NNCF report with stubs; the package that would send was never loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", PRIVATE], capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stdout == "openvino.tools.ovc.telemetry_stub MagicMock\n[]\n"
