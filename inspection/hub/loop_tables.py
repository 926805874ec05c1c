"""The hub's tables of the retraining loop: alarms, jobs, challengers and what was forgotten.

They follow the rules of `tables`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    false,
    text,
)

from inspection.hub.tables import NAME, ROW, SHA256, Utc, metadata

# What has moved away from where it lay when a bundle began to judge; one open alarm per cause.
alarms = Table(
    "alarms",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("line", NAME, nullable=False),
    Column("product", NAME, nullable=False),
    Column("camera", NAME, nullable=False),
    Column("bundle_id", String(64), nullable=False),
    Column("cause", String(16), nullable=False),  # metrics.causes.Cause
    Column("raised_at", Utc, nullable=False),
    Column("cleared_at", Utc),  # none while it stands
    Column("why_cleared", String(16), nullable=False, default=""),  # settled, replaced, …
    Column("since", Utc),  # captured_at of the part it began with, as far as can be told
    Column("effect", Float, nullable=False),  # in standard deviations of the reference
    Column("p_value", Float, nullable=False),  # corrected for all tests made together
    Column("words", Text, nullable=False),
    Column("station", NAME, nullable=False, server_default=""),  # empty: raised for all together
    Column("guarded", Boolean, nullable=False, server_default=false()),  # guards hold its frames
    Index(None, "line", "cleared_at"),
    Index(None, "line", "raised_at"),
    # Two hubs may look at once; one alarm is raised.
    Index(
        "ix_alarms_standing",
        *("line", "product", "camera", "bundle_id", "cause", "station"),
        unique=True,
        sqlite_where=text("cleared_at IS NULL"),
        postgresql_where=text("cleared_at IS NULL"),
    ),
)

# The first parts of a bundle at a station, or since a change was accepted, summed up; retention
# takes theirs.
drift_references = Table(
    "drift_references",
    metadata,
    Column("line", NAME, primary_key=True),
    Column("product", NAME, primary_key=True),
    Column("station", NAME, primary_key=True, default=""),
    Column("camera", NAME, primary_key=True),
    Column("bundle_id", String(64), primary_key=True),
    Column("begin", Utc, primary_key=True),
    Column("blocks", Text, nullable=False),  # means and variances as JSON
)

# When the monitors of a line were looked at last: alarms are raised then, and only then.
drift_looks = Table(
    "drift_looks",
    metadata,
    Column("line", NAME, primary_key=True),
    Column("at", Utc, nullable=False),
)

# One retraining (or re-fit of thresholds) of one product; a row is leased by whoever works on it.
jobs = Table(
    "jobs",
    metadata,
    Column("job_id", SHA256, primary_key=True),  # of what is asked for, so asking twice is once
    Column("line", NAME, nullable=False),
    Column("product", NAME, nullable=False),
    Column("name", NAME, nullable=False),  # of the bundle
    Column("kind", String(16), nullable=False),  # as JobKind
    Column("state", String(16), nullable=False),  # waiting, running, done, refused, failed, …
    Column("why", Text, nullable=False),  # in words
    Column("who", NAME, nullable=False),  # a person, or policy
    Column("request", Text, nullable=False),  # JobRequest as JSON
    Column("created_at", Utc, nullable=False),
    Column("started_at", Utc),
    Column("ended_at", Utc),
    Column("leased_by", NAME),
    Column("leased_until", Utc),
    Column("lease", Integer, nullable=False, default=0),  # counts leases: an old one writes nothing
    Column("cancelled_by", NAME),
    Column("step", String(16), nullable=False, default=""),
    Column("done", Integer, nullable=False, default=0),  # of the step's items
    Column("total", Integer, nullable=False, default=0),
    Column("bundle_id", SHA256),  # what came of it
    Column("outcome", Text, nullable=False, default=""),  # in words
    Index(None, "line", "product", "created_at"),
    Index(None, "state", "created_at"),
)

job_steps = Table(
    "job_steps",
    metadata,
    Column("job_id", SHA256, ForeignKey("jobs.job_id"), primary_key=True),
    Column("step", String(16), primary_key=True),
    Column("digest", SHA256, nullable=False),  # of its inputs
    Column("started_at", Utc, nullable=False),
    Column("ended_at", Utc),
    Column("tries", Integer, nullable=False, default=1),
    Column("note", Text, nullable=False, default=""),
)

job_lines = Table(
    "job_lines",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("job_id", SHA256, ForeignKey("jobs.job_id"), nullable=False),
    Column("at", Utc, nullable=False),
    Column("level", String(8), nullable=False),
    Column("text", Text, nullable=False),
    Index(None, "job_id", "id"),
)

# When what recurs is due next; of all hubs on one database together.
schedule = Table(
    "schedule",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("next_at", Utc, nullable=False),
)

# A bundle on its way to a line: scored in the shadow, then rolled out station by station.
challengers = Table(
    "challengers",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("line", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("bundle_id", SHA256, ForeignKey("bundles.bundle_id"), nullable=False),
    Column("champion_id", SHA256, nullable=False),
    Column("state", String(16), nullable=False),  # held, shadow, rollout, promoted, withdrawn
    Column("since", Utc, nullable=False),  # in this state
    Column("created_at", Utc, nullable=False),
    Column("comparison", Text, nullable=False),  # Comparison as JSON
    Column("words", Text, nullable=False),  # what the policy or a person said last
    Index(None, "line", "name", "id"),
    # Two jobs may end at once; of a line and name one is on its way, and one is rolled out.
    *(
        Index(
            f"ix_challengers_{name}",
            *("line", "name"),
            unique=True,
            sqlite_where=text(states),
            postgresql_where=text(states),
        )
        for name, states in (
            ("coming", "state IN ('held', 'shadow')"),
            ("rollout", "state = 'rollout'"),
        )
    ),
)

# Stations on which a challenger in rollout judges already, in the order they came.
rollout_stations = Table(
    "rollout_stations",
    metadata,
    Column("challenger", ROW, ForeignKey("challengers.id"), primary_key=True),
    Column("station", NAME, ForeignKey("stations.station"), primary_key=True),
    Column("at", Utc, nullable=False),  # stations hold it as chosen then
)

# What a challenger said of a part that the champion decided.
shadows = Table(
    "shadows",
    metadata,
    Column("event_id", NAME, primary_key=True),  # no foreign key: it may arrive before its event
    Column("camera", NAME, primary_key=True),
    Column("bundle_id", SHA256, primary_key=True),
    Column("line", NAME, nullable=False),
    Column("station", NAME, nullable=False),
    Column("score", Float),
    Column("verdict", String(8), nullable=False),  # FAULT: it could not judge
    Column("champion", String(8), nullable=False),  # the deciding bundle's verdict on this frame
    Column("latency_ms", Float, nullable=False),
    Column("at", Utc, nullable=False),
    Column("challenger", ROW, ForeignKey("challengers.id"), nullable=False),  # it counts for
)

# Running totals of it, by part: what the champion and what the challenger made of it.
shadow_counts = Table(
    "shadow_counts",
    metadata,
    Column("challenger", ROW, ForeignKey("challengers.id"), primary_key=True),
    Column("champion", String(8), primary_key=True),
    Column("verdict", String(8), primary_key=True),
    Column("parts", BigInteger, nullable=False),
    Column("since", Utc, nullable=False),
)

# And by frame: how long it took, in buckets each 2 % wider than the one before.
shadow_latencies = Table(
    "shadow_latencies",
    metadata,
    Column("challenger", ROW, ForeignKey("challengers.id"), primary_key=True),
    Column("bucket", Integer, primary_key=True),
    Column("frames", BigInteger, nullable=False),
)

# The parts that would go another way by a challenger; their events may come later.
disagreements = Table(
    "disagreements",
    metadata,
    Column("event_id", NAME, primary_key=True),
    Column("challenger", ROW, ForeignKey("challengers.id"), primary_key=True),
    Column("passes", Boolean, nullable=False),  # by the challenger
    Column("at", Utc, nullable=False),
    Index(None, "challenger", "at"),
)

# Pictures that must never teach anything again, by the hash of their bytes.
forgotten = Table(
    "forgotten",
    metadata,
    Column("sha256", SHA256, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("who", NAME, nullable=False),
    Column("why", Text, nullable=False),
)
