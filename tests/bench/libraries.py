"""Which warnings of the libraries a bench test may meet; everything else stays an error."""

import pytest

quiet = pytest.mark.filterwarnings("default")
