"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables up to this revision."""
    op.create_table(
        "accounts",
        sa.Column("account", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_accounts")),
    )
    op.create_table(
        "audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sa.UniqueConstraint("previous", name=op.f("uq_audit_previous")),
        sa.UniqueConstraint("sha256", name=op.f("uq_audit_sha256")),
    )
    op.create_table(
        "bundles",
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bundle_id", name=op.f("pk_bundles")),
    )
    with op.batch_alter_table("bundles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_bundles_name"), ["name"], unique=False)

    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("station", sa.String(length=128), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("part_id", sa.String(length=512), nullable=False),
        sa.Column("product", sa.String(length=128), nullable=False),
        sa.Column("camera", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("review_above", sa.Float(), nullable=True),
        sa.Column("reject_above", sa.Float(), nullable=True),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("captured_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("image", sa.String(length=200), nullable=True),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("event_id", name=op.f("uq_events_event_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_events_captured_at"), ["captured_at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_events_line_bundle_id_captured_at"),
            ["line", "bundle_id", "captured_at"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_events_line_captured_at"), ["line", "captured_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_events_line_product"), ["line", "product"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_events_line_verdict_captured_at"),
            ["line", "verdict", "captured_at"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_events_part_id"), ["part_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_events_station_captured_at"), ["station", "captured_at"], unique=False
        )

    op.create_table(
        "hours",
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("station", sa.String(length=128), nullable=False),
        sa.Column("product", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("parts", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum_ms", sa.Float(), nullable=False),
        sa.Column("latency_most_ms", sa.Float(), nullable=False),
        sa.Column("score_sum", sa.Float(), nullable=False),
        sa.Column("score_squares", sa.Float(), nullable=False),
        sa.Column("scores", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "line",
            "hour",
            "station",
            "product",
            "bundle_id",
            "verdict",
            name=op.f("pk_hours"),
        ),
    )
    op.create_table(
        "stations",
        sa.Column("station", sa.String(length=128), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", sa.BigInteger(), nullable=True),
        sa.Column("skew_s", sa.Float(), nullable=True),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("station", name=op.f("pk_stations")),
    )
    with op.batch_alter_table("stations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stations_line"), ["line"], unique=False)

    op.create_table(
        "threshold_records",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("when", sa.BigInteger(), nullable=False),
        sa.Column("reverts", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_threshold_records")),
        sa.UniqueConstraint("sha256", name=op.f("uq_threshold_records_sha256")),
    )
    with op.batch_alter_table("threshold_records", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_threshold_records_line"), ["line"], unique=False)

    op.create_table(
        "choices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("chosen_at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"], ["bundles.bundle_id"], name=op.f("fk_choices_bundle_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_choices")),
    )
    with op.batch_alter_table("choices", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_choices_line_name_id"), ["line", "name", "id"], unique=False
        )

    op.create_table(
        "corrections",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("camera", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(length=128), nullable=False),
        sa.Column("defect", sa.String(length=64), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.event_id"], name=op.f("fk_corrections_event_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corrections")),
        sa.UniqueConstraint(
            "event_id", "camera", "revision", name=op.f("uq_corrections_event_id_camera_revision")
        ),
    )
    op.create_table(
        "pictures",
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.event_id"], name=op.f("fk_pictures_event_id")
        ),
        sa.PrimaryKeyConstraint("event_id", "name", name=op.f("pk_pictures")),
    )
    with op.batch_alter_table("pictures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pictures_sha256"), ["sha256"], unique=False)

    op.create_table(
        "draws",
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.event_id"], name=op.f("fk_draws_event_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_draws")),
    )
    with op.batch_alter_table("draws", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_draws_line"), ["line"], unique=False)

    op.create_table(
        "farthest",
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("line", "bundle_id", name=op.f("pk_farthest")),
    )
    op.create_table(
        "queue",
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("why", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("second", sa.Boolean(), nullable=False),
        sa.Column("not_for", sa.String(length=128), nullable=True),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.event_id"], name=op.f("fk_queue_event_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_queue")),
    )
    with op.batch_alter_table("queue", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_queue_line_value_at"), ["line", "value", "at"], unique=False
        )

    op.create_table(
        "reviews",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("second", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(length=128), nullable=False),
        sa.Column("decision", sa.String(length=8), nullable=False),
        sa.Column("defect", sa.String(length=64), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.event_id"], name=op.f("fk_reviews_event_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint(
            "event_id", "second", "revision", name=op.f("uq_reviews_event_id_second_revision")
        ),
    )
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reviews_line"), ["line"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_reviews_reviewer_at"), ["reviewer", "at"], unique=False
        )

    op.create_table(
        "sessions",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"], ["accounts.account"], name=op.f("fk_sessions_account")
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_sessions")),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sessions_account"), ["account"], unique=False)

    op.create_table(
        "threshold_stations",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("station", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["sha256"], ["threshold_records.sha256"], name=op.f("fk_threshold_stations_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["station"], ["stations.station"], name=op.f("fk_threshold_stations_station")
        ),
        sa.PrimaryKeyConstraint("sha256", "station", name=op.f("pk_threshold_stations")),
    )
    with op.batch_alter_table("threshold_stations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_threshold_stations_station"), ["station"], unique=False
        )

    op.create_table(
        "tokens",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("station", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["station"], ["stations.station"], name=op.f("fk_tokens_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("sha256", name=op.f("uq_tokens_sha256")),
    )
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tokens_station"), ["station"], unique=False)


def downgrade() -> None:
    """Take this revision back."""
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tokens_station"))

    op.drop_table("tokens")
    with op.batch_alter_table("threshold_stations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_threshold_stations_station"))

    op.drop_table("threshold_stations")
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sessions_account"))

    op.drop_table("sessions")
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reviews_reviewer_at"))
        batch_op.drop_index(batch_op.f("ix_reviews_line"))

    op.drop_table("reviews")
    with op.batch_alter_table("queue", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_queue_line_value_at"))

    op.drop_table("queue")
    op.drop_table("farthest")
    with op.batch_alter_table("draws", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_draws_line"))

    op.drop_table("draws")
    with op.batch_alter_table("pictures", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pictures_sha256"))

    op.drop_table("pictures")
    op.drop_table("corrections")
    with op.batch_alter_table("choices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_choices_line_name_id"))

    op.drop_table("choices")
    with op.batch_alter_table("threshold_records", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_threshold_records_line"))

    op.drop_table("threshold_records")
    with op.batch_alter_table("stations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_stations_line"))

    op.drop_table("stations")
    op.drop_table("hours")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_events_station_captured_at"))
        batch_op.drop_index(batch_op.f("ix_events_part_id"))
        batch_op.drop_index(batch_op.f("ix_events_line_product"))
        batch_op.drop_index(batch_op.f("ix_events_line_verdict_captured_at"))
        batch_op.drop_index(batch_op.f("ix_events_line_captured_at"))
        batch_op.drop_index(batch_op.f("ix_events_line_bundle_id_captured_at"))
        batch_op.drop_index(batch_op.f("ix_events_captured_at"))

    op.drop_table("events")
    with op.batch_alter_table("bundles", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_bundles_name"))

    op.drop_table("bundles")
    op.drop_table("audit")
    op.drop_table("accounts")
