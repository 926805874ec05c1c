"""Bundles that judge by redness, for the station's tests; made where the fault suite has them."""

from inspection.bench.redness import gate_of, make_bundle

__all__ = ["gate_of", "make_bundle"]
