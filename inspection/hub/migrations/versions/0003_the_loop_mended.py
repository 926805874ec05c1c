"""Drift is watched station by station, and the hub knows when it was looked for."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STANDING = {
    "unique": True,
    "sqlite_where": sa.text("cleared_at IS NULL"),
    "postgresql_where": sa.text("cleared_at IS NULL"),
}
PLACE = ("line", "product", "camera", "bundle_id")


def upgrade() -> None:
    """Bring the tables up to this revision."""
    with op.batch_alter_table("alarms", schema=None) as batch_op:
        # alarms of before are of all stations together
        batch_op.add_column(
            sa.Column("station", sa.String(length=128), nullable=False, server_default="")
        )
        batch_op.add_column(
            sa.Column("guarded", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.drop_index("ix_alarms_standing")
        batch_op.create_index("ix_alarms_standing", [*PLACE, "cause", "station"], **STANDING)
    op.drop_table("drift_references")  # so are these, and no station can be held against them
    _references("station")
    op.create_table(
        "drift_looks",
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("line", name=op.f("pk_drift_looks")),
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("drift_looks")
    op.drop_table("drift_references")
    _references()
    # two stations may have an alarm of one cause, which the older index does not allow
    op.execute("DELETE FROM alarms WHERE cleared_at IS NULL")
    with op.batch_alter_table("alarms", schema=None) as batch_op:
        batch_op.drop_index("ix_alarms_standing")
        batch_op.drop_column("guarded")
        batch_op.drop_column("station")
        batch_op.create_index("ix_alarms_standing", [*PLACE, "cause"], **STANDING)


def _references(*more: str) -> None:
    names = ("line", "product", *more, "camera")
    op.create_table(
        "drift_references",
        *(sa.Column(name, sa.String(length=128), nullable=False) for name in names),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("begin", sa.BigInteger(), nullable=False),
        sa.Column("blocks", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*names, "bundle_id", "begin", name=op.f("pk_drift_references")),
    )
