"""The commands that race stock Anomalib in the same run and leave evidence in reports/."""

from inspection.arguments import new_app

bench = new_app("Race stock Anomalib in the same run; evidence goes to reports/bench.")
