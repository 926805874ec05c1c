"""How a process of ours is started, whatever is on the path."""

import sys

INSPECTION = (sys.executable, "-c", "from inspection.cli.main import main; main()")
"""What stands before the arguments of an `inspection` command."""
