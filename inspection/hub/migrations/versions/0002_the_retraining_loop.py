"""The tables of the retraining loop."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables up to this revision."""
    op.create_table(
        "alarms",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("product", sa.String(length=128), nullable=False),
        sa.Column("camera", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("raised_at", sa.BigInteger(), nullable=False),
        sa.Column("cleared_at", sa.BigInteger(), nullable=True),
        sa.Column("why_cleared", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("effect", sa.Float(), nullable=False),
        sa.Column("p_value", sa.Float(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
    )
    with op.batch_alter_table("alarms", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_alarms_line_cleared_at"), ["line", "cleared_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_alarms_line_raised_at"), ["line", "raised_at"], unique=False
        )
        batch_op.create_index(
            "ix_alarms_standing",
            ["line", "product", "camera", "bundle_id", "cause"],
            unique=True,
            sqlite_where=sa.text("cleared_at IS NULL"),
            postgresql_where=sa.text("cleared_at IS NULL"),
        )

    op.create_table(
        "schedule",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedule")),
    )
    op.create_table(
        "drift_references",
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("product", sa.String(length=128), nullable=False),
        sa.Column("camera", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("begin", sa.BigInteger(), nullable=False),
        sa.Column("blocks", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "line",
            "product",
            "camera",
            "bundle_id",
            "begin",
            name=op.f("pk_drift_references"),
        ),
    )
    op.create_table(
        "forgotten",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_forgotten")),
    )
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("product", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("leased_by", sa.String(length=128), nullable=True),
        sa.Column("leased_until", sa.BigInteger(), nullable=True),
        sa.Column("lease", sa.Integer(), nullable=False),
        sa.Column("cancelled_by", sa.String(length=128), nullable=True),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_jobs_line_product_created_at"),
            ["line", "product", "created_at"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_jobs_state_created_at"), ["state", "created_at"], unique=False
        )

    op.create_table(
        "shadows",
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("camera", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("station", sa.String(length=128), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("champion", sa.String(length=8), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "camera", "bundle_id", name=op.f("pk_shadows")),
    )
    with op.batch_alter_table("shadows", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_shadows_bundle_id_line_at"), ["bundle_id", "line", "at"], unique=False
        )

    op.create_table(
        "challengers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("champion_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("comparison", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"], ["bundles.bundle_id"], name=op.f("fk_challengers_bundle_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_challengers")),
    )
    with op.batch_alter_table("challengers", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_challengers_line_name_id"), ["line", "name", "id"], unique=False
        )

    op.create_table(
        "job_lines",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_job_lines_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_lines")),
    )
    with op.batch_alter_table("job_lines", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_lines_job_id_id"), ["job_id", "id"], unique=False)

    op.create_table(
        "job_steps",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_job_steps_job_id")),
        sa.PrimaryKeyConstraint("job_id", "step", name=op.f("pk_job_steps")),
    )
    op.create_table(
        "rollout_stations",
        sa.Column(
            "challenger", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("station", sa.String(length=128), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["challenger"], ["challengers.id"], name=op.f("fk_rollout_stations_challenger")
        ),
        sa.ForeignKeyConstraint(
            ["station"], ["stations.station"], name=op.f("fk_rollout_stations_station")
        ),
        sa.PrimaryKeyConstraint("challenger", "station", name=op.f("pk_rollout_stations")),
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("rollout_stations")
    op.drop_table("job_steps")
    with op.batch_alter_table("job_lines", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_lines_job_id_id"))

    op.drop_table("job_lines")
    with op.batch_alter_table("challengers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_challengers_line_name_id"))

    op.drop_table("challengers")
    with op.batch_alter_table("shadows", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_shadows_bundle_id_line_at"))

    op.drop_table("shadows")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_state_created_at"))
        batch_op.drop_index(batch_op.f("ix_jobs_line_product_created_at"))

    op.drop_table("jobs")
    op.drop_table("forgotten")
    op.drop_table("drift_references")
    op.drop_table("schedule")
    with op.batch_alter_table("alarms", schema=None) as batch_op:
        batch_op.drop_index("ix_alarms_standing")
        batch_op.drop_index(batch_op.f("ix_alarms_line_raised_at"))
        batch_op.drop_index(batch_op.f("ix_alarms_line_cleared_at"))

    op.drop_table("alarms")
