"""Which warnings of the libraries a bench test may meet; everything else stays an error."""

import pytest

quiet = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning",  # OpenVINO traces the torch modules it converts
    "ignore:.torch.jit.trace:FutureWarning",
    "ignore:This property will be removed:DeprecationWarning:torchmetrics",
)
