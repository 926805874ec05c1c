"""What stations' second stages name on parts is kept beside events, to filter and count by it."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables up to this revision."""
    op.create_table(
        "recognitions",
        *_of_event(),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("detector", sa.String(length=128), nullable=False),
        sa.Column("detector_id", sa.String(length=64), nullable=False),
        sa.Column("surest", sa.String(length=128)),
        sa.Column("held", sa.Boolean(), nullable=False),
        *_keys("recognitions", "event_id"),
    )
    op.create_table(
        "recognised_types",
        *_of_event(),
        sa.Column("type", sa.String(length=128), nullable=False),
        sa.Column("objects", sa.Integer(), nullable=False),
        *_keys("recognised_types", "event_id", "type"),
    )
    for table in ("recognitions", "recognised_types"):
        op.create_index(f"ix_{table}_line_captured_at", table, ["line", "captured_at"])
    op.create_index(
        "ix_recognised_types_type_captured_at", "recognised_types", ["type", "captured_at"]
    )


def downgrade() -> None:
    """Take this revision back; the events keep what was named on them."""
    op.execute("UPDATE queue SET why = 'near the band' WHERE why = 'known defect'")
    op.drop_table("recognised_types")
    op.drop_table("recognitions")


def _of_event() -> tuple[sa.Column[Any], ...]:
    names = ("event_id", "line", "product")
    return (
        *(sa.Column(name, sa.String(length=128), nullable=False) for name in names),
        sa.Column("captured_at", sa.BigInteger(), nullable=False),
    )


def _keys(table: str, *key: str) -> tuple[sa.Constraint, ...]:
    return (
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["events.event_id"],
            name=op.f(f"fk_{table}_event_id"),
            ondelete="CASCADE",
        ),
    )
