import pytest
import yaml

from inspection.dashboard.parts import access, session
from inspection.hub.wire.people import Account, NewToken, Role
from inspection.station.outputs.settings import HubSettings
from inspection.station.settings import UpdateSettings
from inspection.station.state import OutputStatus, StationState
from tests.dashboard.drawn import AT
from tests.dashboard.fake import FakeHub, answered, opened, refusal
from tests.dashboard.plants import TOKEN, station, status

STATIONS, ACCOUNTS = "/v1/stations", "/v1/accounts"
WEBER = Account(account="weber", role=Role.REVIEWER, local=True, created_at=AT, disabled_at=None)
NEW = NewToken(
    **TOKEN.model_dump() | {"id": 2}, station="station-9", token="shown-once", trusted_keys=()
)


def shown(*rows, role: Role = Role.VIEWER, section: str | None = None):
    hub = FakeHub(
        {
            ("GET", STATIONS): rows,
            ("GET", ACCOUNTS): (WEBER,),
            ("POST", STATIONS): NEW,
            ("POST", "/v1/stations/station-1/tokens"): NEW,
            ("DELETE", "/v1/stations/station-1"): None,
            ("DELETE", "/v1/stations/station-1/tokens/1"): None,
            ("POST", ACCOUNTS): WEBER,
            ("PATCH", "/v1/accounts/weber"): WEBER,
        }
    )
    test = opened("stations", hub, role)
    test.secrets[session.HUB_URL] = "https://hub.plant"
    test.run()
    if section:
        test.segmented_control(key="stations-section").set_value(section).run()
    assert not test.exception
    return hub, test


def text(test) -> str:
    shown = [*test.markdown, *test.info, *test.warning, *test.caption, *test.error]
    return "\n".join(element.value for element in shown)


def test_a_plant_without_stations_says_how_to_enrol_one():
    """The empty state names the command."""
    _, test = shown()
    assert "inspection hub station enrol" in text(test)


def test_stations_that_ail_stand_first_with_what_is_wrong():
    """A silent, skewed station with an output down says all three."""
    down = OutputStatus(name="modbus", up=False, waiting=14, reason="connection refused")
    ill = status("station-2", state=StationState.IMPAIRED, reason="no frame", outputs=(down,))
    row = station("station-2", silent=True, skewed=True, skew_s=-400.0, status=ill)
    hub, test = shown(station(), row)
    assert test.dataframe[0].value["station"].tolist() == ["station-2", "station-1"]
    assert test.dataframe[0].value["state"].tolist() == ["SILENT", "READY"]
    said = text(test)
    for words in ("silent since", "-400 s off", "no frame", "output modbus\\: connection refused"):
        assert words in said
    assert test.dataframe[1].value["waiting"].tolist() == [14]
    assert len(hub.asked) == 1


def test_a_station_that_never_spoke_says_what_to_do():
    """It has no status, and the page does not fail over it."""
    _, test = shown(station(seen_at=None, silent=True, skew_s=None, behind=None, status=None))
    assert test.dataframe[0].value["state"].tolist() == ["never seen"]
    assert "inspection station run" in text(test)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER, Role.ENGINEER])
def test_tokens_and_accounts_are_for_admins(role: Role):
    """Others see health only."""
    _, test = shown(station(), role=role)
    assert not test.segmented_control


def test_an_enrolled_stations_token_is_shown_until_it_is_stored():
    """With the lines its settings need; afterwards it is gone."""
    hub, test = shown(station(), role=Role.ADMIN, section="Tokens")
    test.text_input(key="enrol-station").input("station-9")
    test.button(key="enrol-send").click().run()
    assert hub.calls("POST", STATIONS) == [{"station": "station-9", "line": "line-1"}]
    token, lines = (block.value for block in test.code)
    assert token == "shown-once"
    assert "token_file: hub.token" in lines
    settings = yaml.safe_load(lines)
    assert UpdateSettings(**settings["updates"]).thresholds == "https://hub.plant"
    assert HubSettings(**settings["outputs"][0]).url == "https://hub.plant"
    test.button(key="new-token-stored").click().run()
    assert not test.code
    assert access.NEW not in test.session_state


def test_a_name_that_cannot_be_one_is_not_sent():
    """The form says what does not fit."""
    hub, test = shown(station(), role=Role.ADMIN, section="Tokens")
    test.text_input(key="enrol-station").input("../station")
    test.button(key="enrol-send").click().run()
    assert hub.calls("POST", STATIONS) == []
    assert test.error[0].value.startswith("station: ")


def test_a_token_is_revoked_after_a_question_that_says_it_is_the_last():
    """The station cannot send without one."""
    hub, test = shown(station(), role=Role.ADMIN, section="Tokens")
    test.button(key="revoke").click().run()
    assert "It is the only one" in text(test)
    answered(test, "revoke", "revoke-confirm")
    assert len(hub.calls("DELETE", "/v1/stations/station-1/tokens/1")) == 1


def test_a_station_is_retired_after_its_name_was_typed():
    """A click alone does nothing."""
    hub, test = shown(station(), role=Role.ADMIN, section="Tokens")
    test.button(key="retire").click().run()
    assert test.button(key="retire-confirm").disabled
    answered(test, "retire", "retire-confirm", retire_name="station-1")
    assert len(hub.calls("DELETE", "/v1/stations/station-1")) == 1


def test_an_account_is_made_with_a_password_long_enough():
    """A short one is refused here, a good one is sent."""
    hub, test = shown(station(), role=Role.ADMIN, section="Accounts")
    test.text_input(key="account-name").input("weber")
    test.text_input(key="account-password").input("short")
    test.button(key="account-send").click().run()
    assert test.error[0].value.startswith("password: ")
    test.text_input(key="account-name").input("weber")
    test.text_input(key="account-password").input("correct horse battery")
    test.button(key="account-send").click().run()
    sent = {"account": "weber", "role": "viewer", "password": "correct horse battery"}
    assert hub.calls("POST", ACCOUNTS) == [sent]


def test_only_what_changed_of_an_account_is_sent():
    """A role alone leaves the password."""
    hub, test = shown(station(), role=Role.ADMIN, section="Accounts")
    role = next(box for box in test.selectbox if (box.key or "").startswith("change-role"))
    role.set_value(Role.ENGINEER).run()
    test.button(key="change-send").click().run()
    assert hub.calls("PATCH", "/v1/accounts/weber") == [{"role": "engineer"}]


def test_what_the_hub_refuses_is_shown():
    """An account that is there already stays as it is."""
    hub, test = shown(station(), role=Role.ADMIN, section="Tokens")
    hub.answers["POST", STATIONS] = refusal(409, "station 'station-9': is enrolled")
    test.text_input(key="enrol-station").input("station-9")
    test.button(key="enrol-send").click().run()
    assert test.error[0].value == "station 'station-9'\\: is enrolled"
