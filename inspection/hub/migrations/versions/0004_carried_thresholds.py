"""A threshold record tells which other bundle's record its band was taken over from."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables up to this revision."""
    with op.batch_alter_table("threshold_records", schema=None) as batch_op:
        batch_op.add_column(sa.Column("carries", sa.String(length=64)))


def downgrade() -> None:
    """Bring the tables back to the revision before."""
    with op.batch_alter_table("threshold_records", schema=None) as batch_op:
        batch_op.drop_column("carries")
