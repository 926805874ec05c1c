"""Asks a hub over HTTP: what the dashboard, tests and other clients use."""

from inspection.core.limits import MAX_GRAPH_BYTES, MAX_PICTURE_BYTES
from inspection.hub.asking import part, without_none
from inspection.hub.client_retraining import RetrainingClient
from inspection.hub.wire.line import EventDetail, EventRow, NewStation, Overview, StationRow
from inspection.hub.wire.message import Page
from inspection.hub.wire.models import (
    BundleRow,
    Choice,
    DataSet,
    NearDuplicates,
    NewChoice,
    StationParity,
)
from inspection.hub.wire.people import (
    Account,
    AccountChange,
    AuditCheck,
    AuditEntry,
    Login,
    Me,
    NewAccount,
    NewToken,
    OidcLogin,
    Session,
)
from inspection.hub.wire.recognition import Confusion, TypeCounts
from inspection.hub.wire.review import (
    Correction,
    Look,
    NewCorrection,
    NewReview,
    Outline,
    Outlined,
    QueueItem,
    Review,
    ReviewSummary,
)
from inspection.hub.wire.thresholds import (
    Asked,
    Consequences,
    NewThresholds,
    Proposal,
    Replay,
    Replayed,
    Revert,
    Scores,
    ThresholdRow,
)


class HubClient(RetrainingClient):
    """One hub as one person or station sees it.

    Args:
        url: of the hub, http://… or https://….
        token: of a session or a station; none may only log in.
        transport: for tests, an app in the same process.
    """

    # People

    def login(self, login: Login, came_from: str | None = None) -> Session:
        """Log in with a password; who forwards somebody's says where from (X-Forwarded-For)."""
        body = {"account": login.account, "password": login.password.get_secret_value()}
        return self._begin("/v1/session", body, came_from)

    def login_oidc(self, login: OidcLogin, came_from: str | None = None) -> Session:
        """Log in with an identity token; `came_from` as for `login`."""
        body = {"id_token": login.id_token.get_secret_value()}
        return self._begin("/v1/session/oidc", body, came_from)

    def _begin(self, path: str, body: dict[str, str], came_from: str | None) -> Session:
        headers = {} if came_from is None else {"X-Forwarded-For": came_from}
        return self.ask("POST", path, Session, json=body, headers=headers)

    def logout(self) -> None:
        """End the session."""
        self.send("DELETE", "/v1/session")

    def me(self) -> Me:
        """Say who asks."""
        return self.ask("GET", "/v1/session", Me)

    def accounts(self) -> tuple[Account, ...]:
        """List accounts."""
        return self.ask("GET", "/v1/accounts", tuple[Account, ...])

    def add_account(self, new: NewAccount) -> Account:
        """Make an account."""
        password = new.password.get_secret_value() if new.password else None
        body = {"account": new.account, "role": new.role, "password": password}
        return self.ask("POST", "/v1/accounts", Account, json=body)

    def change_account(self, account: str, change: AccountChange) -> Account:
        """Change an account; ends its sessions."""
        body = change.model_dump(mode="json", exclude_none=True)
        if change.password is not None:
            body["password"] = change.password.get_secret_value()
        return self.ask("PATCH", f"/v1/accounts/{part(account)}", Account, json=body)

    def audit(self, after: str | None = None, limit: int = 100) -> Page[AuditEntry]:
        """Give audit entries, the newest first."""
        return self.ask(
            "GET", "/v1/audit", Page[AuditEntry], params=without_none(after=after, limit=limit)
        )

    def verify_audit(self) -> AuditCheck:
        """Check the chain."""
        return self.ask("GET", "/v1/audit/verify", AuditCheck)

    # The line

    def overview(self, hours: int = 24) -> Overview:
        """Give all lines in the last hours."""
        return self.ask("GET", "/v1/overview", Overview, params={"hours": hours})

    def events(self, *, after: str | None = None, limit: int = 50, **wanted: str) -> Page[EventRow]:
        """Give events, the newest first.

        Args:
            after: `next` of the page before.
            limit: most events of the page, 1 to 500.
            wanted: line, station, product, verdict, part_id, bundle_id, decision, type; each
                exactly.
        """
        params = {**without_none(after=after, limit=limit), **wanted}
        return self.ask("GET", "/v1/events", Page[EventRow], params=params)

    def event(self, event_id: str) -> EventDetail:
        """Give all of one event."""
        return self.ask("GET", f"/v1/events/{part(event_id)}", EventDetail)

    def picture(self, event_id: str, name: str, side_px: int | None = None) -> bytes:
        """Give a picture: as stored, or as a JPEG whose longer side has at most `side_px`."""
        path = f"/v1/events/{part(event_id)}/pictures/{part(name)}"
        asked = without_none(side_px=side_px)
        return self.send("GET", path, max_bytes=MAX_PICTURE_BYTES, params=asked).content

    def stations(self) -> tuple[StationRow, ...]:
        """List stations."""
        return self.ask("GET", "/v1/stations", tuple[StationRow, ...])

    def enrol(self, new: NewStation) -> NewToken:
        """Enrol a station; its token is shown this once."""
        return self.ask("POST", "/v1/stations", NewToken, json=new.model_dump())

    def retire(self, station: str) -> None:
        """Retire a station: its tokens are revoked, its events stay."""
        self.send("DELETE", f"/v1/stations/{part(station)}")

    def rotate(self, station: str) -> NewToken:
        """Give a station one more token; the old ones hold until they are revoked."""
        return self.ask("POST", f"/v1/stations/{part(station)}/tokens", NewToken)

    def revoke(self, station: str, token_id: int) -> None:
        """Revoke one token; it is refused from the next request on."""
        self.send("DELETE", f"/v1/stations/{part(station)}/tokens/{token_id}")

    # Review

    def queue(self, line: str, limit: int = 20, type_: str | None = None) -> tuple[QueueItem, ...]:
        """Give the parts this person should look at, the most valuable first; of a type."""
        params = without_none(line=line, limit=limit, type=type_)
        return self.ask("GET", "/v1/queue", tuple[QueueItem, ...], params=params)

    def review(self, event_id: str, new: NewReview) -> Review:
        """Decide on a part.

        Raises:
            Conflicted: somebody else decided since the given revision.
        """
        path = f"/v1/events/{part(event_id)}/reviews"
        return self.ask("POST", path, Review, json=new.model_dump(mode="json"))

    def review_summary(self, line: str) -> ReviewSummary:
        """Say where reviewing stands on a line."""
        return self.ask("GET", "/v1/reviews/summary", ReviewSummary, params={"line": line})

    def look(self, event_id: str, camera: str, side_px: int = 800) -> Look:
        """Explain one frame's score."""
        params = {"camera": camera, "side_px": side_px}
        return self.ask("GET", f"/v1/events/{part(event_id)}/look", Look, params=params)

    def outline(self, event_id: str, clicks: Outline) -> Outlined:
        """Outline what was clicked."""
        path = f"/v1/events/{part(event_id)}/outline"
        return self.ask("POST", path, Outlined, json=clicks.model_dump(mode="json"))

    def correct(self, event_id: str, new: NewCorrection) -> Correction:
        """Keep a person's mask.

        Raises:
            Refused: with status 409, somebody else's correction came meanwhile.
        """
        path = f"/v1/events/{part(event_id)}/corrections"
        return self.ask("POST", path, Correction, json=new.model_dump(mode="json"))

    # Known defects

    def types(self, hours: int = 24, **wanted: str) -> TypeCounts:
        """Count what second stages named in the last hours, of a line or product if wanted."""
        params = {"hours": hours, **wanted}
        return self.ask("GET", "/v1/recognition/types", TypeCounts, params=params)

    def confusion(self, hours: int = 24, **wanted: str) -> Confusion:
        """Hold what they named against reviewers; of a line, product or detector_id if wanted."""
        params = {"hours": hours, **wanted}
        return self.ask("GET", "/v1/recognition/confusion", Confusion, params=params)

    # Thresholds

    def scores(self, line: str, bundle_id: str) -> Scores:
        """Give what is known of a bundle's scores."""
        path = f"/v1/lines/{part(line)}/scores"
        return self.ask("GET", path, Scores, params={"bundle_id": bundle_id})

    def consequences(self, line: str, asked: Asked) -> Consequences:
        """Say what a band would lead to; nothing changes."""
        path = f"/v1/lines/{part(line)}/consequences"
        return self.ask("POST", path, Consequences, json=asked.model_dump(mode="json"))

    def thresholds(self, line: str) -> tuple[ThresholdRow, ...]:
        """Give the history of a line's thresholds, the newest first."""
        path = f"/v1/lines/{part(line)}/thresholds"
        return self.ask("GET", path, tuple[ThresholdRow, ...])

    def set_thresholds(self, line: str, new: NewThresholds) -> ThresholdRow:
        """Apply a band to stations."""
        path = f"/v1/lines/{part(line)}/thresholds"
        return self.ask("POST", path, ThresholdRow, json=new.model_dump(mode="json"))

    def proposals(self, line: str) -> tuple[Proposal, ...]:
        """Give the thresholds that wait for a second person, the newest first."""
        path = f"/v1/lines/{part(line)}/thresholds/proposals"
        return self.ask("GET", path, tuple[Proposal, ...])

    def propose_thresholds(self, line: str, new: NewThresholds) -> Proposal:
        """Propose a band beyond the limits of its bundle's card."""
        path = f"/v1/lines/{part(line)}/thresholds/proposals"
        return self.ask("POST", path, Proposal, json=new.model_dump(mode="json"))

    def approve_thresholds(self, line: str, number: int) -> ThresholdRow:
        """Apply a band that another person proposed."""
        path = f"/v1/lines/{part(line)}/thresholds/proposals/{number}/approve"
        return self.ask("POST", path, ThresholdRow)

    def decline_thresholds(self, line: str, number: int) -> None:
        """Take a proposed band off the list."""
        path = f"/v1/lines/{part(line)}/thresholds/proposals/{number}/decline"
        self.send("POST", path)

    def revert_thresholds(self, line: str, revert: Revert) -> ThresholdRow:
        """Bring back the band before a record, as a new record."""
        path = f"/v1/lines/{part(line)}/thresholds/revert"
        return self.ask("POST", path, ThresholdRow, json=revert.model_dump(mode="json"))

    def replay(self, wanted: Replay) -> Replayed:
        """Decide a past time again; nothing changes."""
        return self.ask("POST", "/v1/replay", Replayed, json=wanted.model_dump(mode="json"))

    # Models and data

    def bundles(self) -> tuple[BundleRow, ...]:
        """List bundles, the newest first."""
        return self.ask("GET", "/v1/bundles", tuple[BundleRow, ...])

    def choose(self, line: str, new: NewChoice) -> Choice:
        """Let a bundle judge on a line, newer or older than the one that does."""
        path = f"/v1/lines/{part(line)}/choices"
        return self.ask("POST", path, Choice, json=new.model_dump(mode="json"))

    def choices(self, line: str) -> tuple[Choice, ...]:
        """Give the history of a line's choices, the newest first."""
        return self.ask("GET", f"/v1/lines/{part(line)}/choices", tuple[Choice, ...])

    def parity(self) -> tuple[StationParity, ...]:
        """Say how each station stands to the choice of its line."""
        return self.ask("GET", "/v1/parity", tuple[StationParity, ...])

    def judge(self, line: str, product: str, part_id: str, picture: bytes) -> EventDetail:
        """Have the hub judge a picture of a part, as a thin client (a station's token) does."""
        path = f"/v1/lines/{part(line)}/judge"
        params = {"product": product, "part_id": part_id}
        return self.ask("POST", path, EventDetail, params=params, content=picture)

    def datasets(self) -> tuple[DataSet, ...]:
        """Say what is in the sets."""
        return self.ask("GET", "/v1/datasets", tuple[DataSet, ...])

    def near_duplicates(self, line: str, product: str) -> NearDuplicates:
        """Find reviewed pictures that are too alike."""
        params = {"line": line, "product": product}
        return self.ask("GET", "/v1/datasets/duplicates", NearDuplicates, params=params)

    def export(self, line: str, product: str, layout: str) -> bytes:
        """Give reviewed parts as a ZIP: layout mvtec or coco."""
        params = {"line": line, "product": product, "layout": layout}
        path, most = "/v1/datasets/export", MAX_GRAPH_BYTES
        return self.send("GET", path, max_bytes=most, params=params).content
