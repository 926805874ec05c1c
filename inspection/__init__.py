"""Inspects parts: learns from good ones, exports INT8 bundles, judges at the line."""

import sys

# OpenVINO and NNCF report each use to an analytics service through this package and do without
# where it is missing. A line station talks to nobody it was not told to.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
