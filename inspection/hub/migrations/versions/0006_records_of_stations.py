"""Events tell which record of their station they stand in, so that a copied token is noticed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables up to this revision."""
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("record_id", sa.String(length=32), nullable=False, server_default="")
        )
        batch_op.create_index(
            batch_op.f("ix_events_station_record_id_sequence"),
            ["station", "record_id", "sequence"],
            unique=False,
        )
    with op.batch_alter_table("stations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("record_id", sa.String(length=32)))
        batch_op.add_column(sa.Column("copied_at", sa.BigInteger()))


def downgrade() -> None:
    """Bring the tables back to the revision before."""
    with op.batch_alter_table("stations", schema=None) as batch_op:
        batch_op.drop_column("copied_at")
        batch_op.drop_column("record_id")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_events_station_record_id_sequence"))
        batch_op.drop_column("record_id")
