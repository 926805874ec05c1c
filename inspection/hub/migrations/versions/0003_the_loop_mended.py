"""Drift is watched station by station, and the hub knows when it was looked for.

What challengers say is added up as it comes; what they said before is forgotten.
"""

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
SHADOWS_KEY = "fk_shadows_challenger"
PLACE = ("line", "product", "camera", "bundle_id")
COMING = {
    "coming": "state IN ('held', 'shadow')",
    "rollout": "state = 'rollout'",
}


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
    _add_up_shadows()
    op.drop_index(op.f("ix_shadows_bundle_id_line_at"), "shadows")  # by which they were added up
    op.execute("DELETE FROM shadows")  # what no count holds must not be taken off one
    with op.batch_alter_table("shadows", schema=None) as batch_op:
        row = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
        batch_op.add_column(sa.Column("challenger", row, nullable=False))
        batch_op.create_foreign_key(SHADOWS_KEY, "challengers", ["challenger"], ["id"])
    for name, states in COMING.items():
        newest = f"SELECT MAX(id) FROM challengers WHERE {states} GROUP BY line, name"  # noqa: S608 - constants
        op.execute(  # of several that are open the newest goes on
            "UPDATE challengers SET state = 'withdrawn', words = 'a newer one came' "  # noqa: S608 - constants
            f"WHERE {states} AND id NOT IN ({newest})"
        )
        where = sa.text(states)
        op.create_index(
            f"ix_challengers_{name}",
            "challengers",
            ["line", "name"],
            unique=True,
            sqlite_where=where,
            postgresql_where=where,
        )


def downgrade() -> None:
    """Take this revision back."""
    for name in COMING:
        op.drop_index(f"ix_challengers_{name}", "challengers")
    with op.batch_alter_table("shadows", schema=None) as batch_op:
        batch_op.drop_constraint(SHADOWS_KEY, type_="foreignkey")
        batch_op.drop_column("challenger")
    op.create_index(op.f("ix_shadows_bundle_id_line_at"), "shadows", ["bundle_id", "line", "at"])
    for table in ("disagreements", "shadow_latencies", "shadow_counts"):
        op.drop_table(table)
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


def _add_up_shadows() -> None:
    row = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "shadow_counts",
        sa.Column("challenger", row, nullable=False),
        sa.Column("champion", sa.String(length=8), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("parts", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        *_of_challenger("shadow_counts", "challenger", "champion", "verdict"),
    )
    op.create_table(
        "shadow_latencies",
        sa.Column("challenger", row, nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        *_of_challenger("shadow_latencies", "challenger", "bucket"),
    )
    op.create_table(
        "disagreements",
        sa.Column("event_id", sa.String(length=128), nullable=False),
        sa.Column("challenger", row, nullable=False),
        sa.Column("passes", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        *_of_challenger("disagreements", "event_id", "challenger"),
    )
    op.create_index(
        op.f("ix_disagreements_challenger_at"), "disagreements", ["challenger", "at"], unique=False
    )


def _of_challenger(table: str, *key: str) -> tuple[sa.Constraint, ...]:
    """Give a table's keys: its own, and that of the challenger it speaks of."""
    return (
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(
            ["challenger"], ["challengers.id"], name=op.f(f"fk_{table}_challenger")
        ),
    )


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
