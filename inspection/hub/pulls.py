"""What stations pull: the bundles for their line, challengers too, their files, thresholds."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import and_, func, select, union

from inspection.bundles.seal import GATE, SIGNATURE, SUMS, parse_sums
from inspection.bundles.signing import Deployment, Purpose, Signature, SignedText, sign
from inspection.core.errors import HubError
from inspection.hub.artefacts import bundle_file_name
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import challengers, rollout_stations
from inspection.hub.models import in_force
from inspection.hub.refusals import NotThere
from inspection.hub.tables import bundles, choices, threshold_records, threshold_stations
from inspection.hub.wire.retraining import ChallengerState

OFFERED = (ChallengerState.SHADOW, ChallengerState.ROLLOUT)


def offers(hub: Hub, line: str, station: str, *, shadows: bool = False) -> tuple[SignedText, ...]:
    """Give the bundle of each name that is to judge at a station, each a signed `Deployment`.

    That is the line's choice, or a challenger in rollout that has come to the station.

    Args:
        hub: open.
        line: of the station.
        station: that asks.
        shadows: also give challengers that have not come to it, to be scored in the shadow.
    """
    chosen = in_force(line).subquery()
    wanted = bundles.c.bundle_id, bundles.c.name, bundles.c.created_at
    came = and_(
        rollout_stations.c.challenger == challengers.c.id, rollout_stations.c.station == station
    )
    at = func.coalesce(rollout_stations.c.at, challengers.c.created_at).label("chosen_at")
    with hub.database.reading() as connection:
        champions = connection.execute(
            select(*wanted, chosen.c.chosen_at).join(
                chosen, chosen.c.bundle_id == bundles.c.bundle_id
            )
        ).all()
        rivals = connection.execute(
            select(*wanted, at, rollout_stations.c.station)
            .join(challengers, challengers.c.bundle_id == bundles.c.bundle_id)
            .join(rollout_stations, came, isouter=True)
            .where(challengers.c.line == line, challengers.c.state.in_(OFFERED))
        ).all()
    judging: dict[str, Any] = {row.name: row for row in champions}
    judging |= {row.name: row for row in rivals if row.station is not None}
    beside = [row for row in rivals if row.station is None and shadows]
    found: list[tuple[Any, str]] = [(row, "champion") for row in judging.values()]
    found += [(row, "challenger") for row in beside]
    deployments = [
        Deployment.model_validate(
            {
                "station": station,
                "bundle_id": row.bundle_id,
                "name": row.name,
                "created_at": row.created_at,
                "chosen_at": row.chosen_at,
                "role": role,
            }
        )
        for row, role in sorted(found, key=lambda one: (one[0].name, one[1]))
    ]
    return tuple(sign(Purpose.DEPLOYMENT, one.model_dump_json()) for one in deployments)


def may_read(hub: Hub, line: str, bundle_id: str) -> bool:
    """Say whether stations of a line may read a bundle: chosen, or challenging, there once."""
    chosen = select(choices.c.bundle_id).where(choices.c.line == line)
    rivals = select(challengers.c.bundle_id).where(challengers.c.line == line)
    with hub.database.reading() as connection:
        return bundle_id in set(connection.execute(union(chosen, rivals)).scalars())


def thresholds(hub: Hub, station: str) -> tuple[SignedText, ...]:
    """Give all threshold records for a station, the oldest first."""
    with hub.database.reading() as connection:
        rows = connection.execute(
            select(threshold_records.c.text, threshold_records.c.signature)
            .join(threshold_stations, threshold_stations.c.sha256 == threshold_records.c.sha256)
            .where(threshold_stations.c.station == station)
            .order_by(threshold_records.c.id)
        ).all()
    return tuple(
        SignedText(text=row.text, signature=Signature.model_validate_json(row.signature))
        for row in rows
    )


def bundle_file(hub: Hub, bundle_id: str, path: str) -> Iterator[bytes]:
    """Give one file of a bundle, in pieces.

    Args:
        hub: that keeps it.
        bundle_id: as a client asks; only one with a row leads to the store.
        path: likewise; only one the bundle's own list names does.

    Raises:
        NotThere: no such bundle, or no such file in it.
        HubError: the store does not give what it should have.
    """
    known = select(bundles.c.bundle_id).where(bundles.c.bundle_id == bundle_id)
    with hub.database.reading() as connection:
        if connection.execute(known).one_or_none() is None:
            raise NotThere("no such bundle on this hub; ask for one that is offered")
    if path not in {SUMS, SIGNATURE, GATE} and path not in _listed(hub, bundle_id):
        raise NotThere(f"bundle {bundle_id[:12]}: has no such file; ask for one {SUMS} names")
    name = bundle_file_name(bundle_id, path)
    if not hub.artefacts.has(name):
        raise HubError(f"artefact {name}: is gone; add the bundle again")
    return hub.artefacts.pieces(name)


def _listed(hub: Hub, bundle_id: str) -> dict[str, str]:
    try:
        return parse_sums(hub.artefacts.get(bundle_file_name(bundle_id, SUMS)))
    except KeyError as error:
        raise HubError(f"artefact {error}: is gone; add the bundle again") from error
