"""The generated set, run and gated INT8 bundle of the tests of export."""

from tests.export.conftest import (  # noqa: F401 - fixtures
    _alone,
    _short_timing,
    _trainer,
    bundle,
    manifest,
    run,
)
