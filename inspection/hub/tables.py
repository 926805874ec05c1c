"""The hub's tables: what stations sent, what people decided, and what is in force.

Times are microseconds since 1970 UTC, so that both databases sort and compare them alike. Whole
records are JSON text; what a page filters, counts or sorts by has a column of its own. Rows of
`choices`, `threshold_records`, `reviews`, `corrections` and `audit` are added, never changed.
"""

from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from inspection.core.known import LONGEST_NAME
from inspection.core.limits import EPOCH as EPOCH

MICROSECOND = timedelta(microseconds=1)
HOUR_US = 3_600_000_000


class Utc(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970 UTC; None stays None."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> int | None:
        """Give the number the database keeps; a naive datetime is a mistake of ours."""
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, _dialect: Dialect) -> datetime | None:
        """Give the datetime, in UTC."""
        return None if value is None else EPOCH + value * MICROSECOND


NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)
# SQLite counts up in INTEGER keys only; PostgreSQL gets 64 bits.
ROW = BigInteger().with_variant(Integer, "sqlite")
NAME, SHA256 = String(LONGEST_NAME), String(64)

stations = Table(
    "stations",
    metadata,
    Column("station", NAME, primary_key=True),
    Column("line", NAME, nullable=False, index=True),
    Column("enrolled_at", Utc, nullable=False),
    Column("retired_at", Utc),
    Column("seen_at", Utc),  # the hub's clock
    Column("skew_s", Float),  # the station's clock minus the hub's, at the last status
    Column("last_sequence", BigInteger, nullable=False, default=0),
    Column("status", Text),  # StationStatus as JSON, as it came last
    Column("record_id", String(32)),  # of the record whose events came last
    Column("copied_at", Utc),  # since when two machines send under its name
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("station", NAME, ForeignKey("stations.station"), nullable=False, index=True),
    Column("sha256", SHA256, nullable=False, unique=True),  # of the token, which is 256 random bits
    Column("created_at", Utc, nullable=False),
    Column("created_by", NAME, nullable=False),
    Column("used_at", Utc),
    Column("revoked_at", Utc),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account", NAME, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text),  # Argon2id; none for people of the identity provider
    Column("created_at", Utc, nullable=False),
    Column("disabled_at", Utc),
)

sessions = Table(
    "sessions",
    metadata,
    Column("sha256", SHA256, primary_key=True),
    Column("account", NAME, ForeignKey("accounts.account"), nullable=False, index=True),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", ROW, primary_key=True),  # order of arrival
    Column("event_id", NAME, nullable=False, unique=True),
    Column("line", NAME, nullable=False),
    Column("station", NAME, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("record_id", String(32), nullable=False, default=""),  # of its station's record
    Column("part_id", String(512), nullable=False, index=True),
    Column("product", NAME, nullable=False),
    Column("camera", NAME, nullable=False),  # of the frame that decided, as are the next five
    Column("bundle_id", String(64), nullable=False),  # empty when no bundle judged
    Column("score", Float),
    Column("review_above", Float),
    Column("reject_above", Float),
    Column("verdict", String(8), nullable=False),
    Column("captured_at", Utc, nullable=False),
    Column("received_at", Utc, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("image", String(200)),  # name of the deciding frame's picture; it may never come
    Column("record", Text, nullable=False),  # the whole Event as JSON, with `action`
    Index(None, "captured_at"),
    Index(None, "station", "captured_at"),
    Index(None, "station", "record_id", "sequence"),
    Index(None, "line", "product"),
    Index(None, "line", "captured_at"),
    Index(None, "line", "verdict", "captured_at"),
    Index(None, "line", "bundle_id", "captured_at"),
    sqlite_autoincrement=True,
)

# What the second stage said of a part, where it was asked, over all its frames.
recognitions = Table(
    "recognitions",
    metadata,
    Column("event_id", NAME, ForeignKey("events.event_id", ondelete="CASCADE"), primary_key=True),
    Column("line", NAME, nullable=False),
    Column("product", NAME, nullable=False),
    Column("captured_at", Utc, nullable=False),
    Column(
        "status", String(8), nullable=False
    ),  # failed, late, done, skipped: the first of any frame
    Column("detector", NAME, nullable=False),
    Column("detector_id", String(64), nullable=False),
    Column("surest", NAME),  # type of the surest object; none where nothing was found
    Column("held", Boolean, nullable=False),  # it made the part worse than score and guards did
    Index(None, "line", "captured_at"),
)

recognised_types = Table(
    "recognised_types",
    metadata,
    Column("event_id", NAME, ForeignKey("events.event_id", ondelete="CASCADE"), primary_key=True),
    Column("type", NAME, primary_key=True),
    Column("line", NAME, nullable=False),
    Column("product", NAME, nullable=False),
    Column("captured_at", Utc, nullable=False),
    Column("objects", Integer, nullable=False),
    Index(None, "line", "captured_at"),
    Index(None, "type", "captured_at"),
)

pictures = Table(
    "pictures",
    metadata,
    Column("event_id", NAME, ForeignKey("events.event_id"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("sha256", SHA256, nullable=False, index=True),  # names the artefact, too
    Column("kind", String(32), nullable=False),  # media type, by content
    Column("bytes", BigInteger, nullable=False),
    Column("height_px", Integer, nullable=False),
    Column("width_px", Integer, nullable=False),
)

# Counts by hour, kept with the events, so that no page counts a million of them.
hours = Table(
    "hours",
    metadata,
    Column("line", NAME, primary_key=True),
    Column("hour", Utc, primary_key=True),  # of captured_at, its beginning
    Column("station", NAME, primary_key=True),
    Column("product", NAME, primary_key=True),
    Column("bundle_id", String(64), primary_key=True),
    Column("verdict", String(8), primary_key=True),
    Column("parts", BigInteger, nullable=False),
    Column("latency_sum_ms", Float, nullable=False),
    Column("latency_most_ms", Float, nullable=False),
    Column("score_sum", Float, nullable=False),  # of the scores there are, and of their squares
    Column("score_squares", Float, nullable=False),
    Column("scores", BigInteger, nullable=False),
)

bundles = Table(
    "bundles",
    metadata,
    Column("bundle_id", SHA256, primary_key=True),
    Column("name", NAME, nullable=False, index=True),
    Column("created_at", Utc, nullable=False),
    Column("received_at", Utc, nullable=False),
    Column("card", Text, nullable=False),  # Card as JSON
    Column("gate", Text, nullable=False),  # GateRecord as JSON; only released bundles come in
)

# Which bundle of its name judges on a line from then on; the newest row is in force.
choices = Table(
    "choices",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("line", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("bundle_id", SHA256, ForeignKey("bundles.bundle_id"), nullable=False),
    Column("chosen_at", Utc, nullable=False),
    Column("who", NAME, nullable=False),
    Column("why", Text, nullable=False),
    Index(None, "line", "name", "id"),
)

threshold_records = Table(
    "threshold_records",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("sha256", SHA256, nullable=False, unique=True),  # of the signed text
    Column("line", NAME, nullable=False, index=True),
    Column("bundle_id", SHA256, nullable=False),
    Column("text", Text, nullable=False),  # ThresholdRecord as JSON, exactly as signed
    Column("signature", Text, nullable=False),  # Signature as JSON
    Column("when", Utc, nullable=False),
    Column("reverts", SHA256),  # sha256 of the record whose band this one brings back
    Column("carries", SHA256),  # sha256 of another bundle's record whose band this one takes over
)

threshold_stations = Table(
    "threshold_stations",
    metadata,
    Column("sha256", SHA256, ForeignKey("threshold_records.sha256"), primary_key=True),
    Column("station", NAME, ForeignKey("stations.station"), primary_key=True, index=True),
)

# Thresholds beyond the limits of their bundle's card, until a second person decides on them.
threshold_proposals = Table(
    "threshold_proposals",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("line", NAME, nullable=False, index=True),
    Column("request", Text, nullable=False),  # NewThresholds as JSON
    Column("exceeded", Text, nullable=False),  # which limit, in words
    Column("who", NAME, nullable=False),
    Column("at", Utc, nullable=False),
    Column("decided_by", NAME),
    Column("decided_at", Utc),
    Column("sha256", SHA256, ForeignKey("threshold_records.sha256")),  # none: declined
)

# One row per decision and undoing; per event and pass (first, second) the last revision holds.
reviews = Table(
    "reviews",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("event_id", NAME, ForeignKey("events.event_id"), nullable=False),
    Column("line", NAME, nullable=False, index=True),  # the event's, which a million rows hide
    Column("second", Boolean, nullable=False),  # the blind second review
    Column("revision", Integer, nullable=False),  # 1, 2, … of this event and pass
    Column("reviewer", NAME, nullable=False),
    Column("decision", String(8), nullable=False),  # good, defect, unsure, undone
    Column("defect", String(64)),
    Column("comment", Text, nullable=False),
    Column("at", Utc, nullable=False),
    UniqueConstraint("event_id", "second", "revision"),
    Index(None, "reviewer", "at"),
)

# Parts a person should look at; a row goes with the decision and may come back, see hub.queue.
queue = Table(
    "queue",
    metadata,
    Column("event_id", NAME, ForeignKey("events.event_id", ondelete="CASCADE"), primary_key=True),
    Column("line", NAME, nullable=False),
    Column("bundle_id", String(64), nullable=False),
    Column("score", Float),
    Column("why", String(16), nullable=False),
    Column("value", Float, nullable=False),
    Column("at", Utc, nullable=False),  # captured_at
    Column("second", Boolean, nullable=False),  # asks for a blind second review
    Column("not_for", NAME),  # who has looked at it and would only repeat himself
    Index(None, "line", "value", "at"),
)

# PASS parts drawn at random when they came, whatever became of them since.
draws = Table(
    "draws",
    metadata,
    Column("event_id", NAME, ForeignKey("events.event_id", ondelete="CASCADE"), primary_key=True),
    Column("line", NAME, nullable=False, index=True),
)

# The highest score anybody has decided on, by which a part is novel.
farthest = Table(
    "farthest",
    metadata,
    Column("line", NAME, primary_key=True),
    Column("bundle_id", String(64), primary_key=True),
    Column("score", Float, nullable=False),
)

corrections = Table(
    "corrections",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("event_id", NAME, ForeignKey("events.event_id"), nullable=False),
    Column("camera", NAME, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("reviewer", NAME, nullable=False),
    Column("defect", String(64)),
    Column("sha256", SHA256, nullable=False),  # of the mask's PNG, an artefact
    Column("at", Utc, nullable=False),
    UniqueConstraint("event_id", "camera", "revision"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", ROW, primary_key=True, autoincrement=False),  # 1, 2, … without gaps
    Column("at", Utc, nullable=False),
    Column("actor", NAME, nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Column("previous", SHA256, nullable=False, unique=True),  # so the chain cannot fork
    Column("sha256", SHA256, nullable=False, unique=True),
)
