"""People: logging in, roles, accounts."""

import threading
import time

import httpx
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr, ValidationError
from sqlalchemy import insert, select, update

from inspection.core.errors import ConfigError
from inspection.hub import accounts as owner
from inspection.hub import challengers, copies, retention
from inspection.hub.accounts import add_account, change_account, log_in
from inspection.hub.asking import Refused
from inspection.hub.audit import export_entries
from inspection.hub.refusals import Standing
from inspection.hub.settings import LimitSettings
from inspection.hub.tables import accounts, sessions
from inspection.hub.tries import MOST_NAMES, Tries
from inspection.hub.wire.people import NO_PEOPLE, AccountChange, Login, NewAccount, Role
from inspection.retraining import job
from tests.hub.conftest import PASSWORD, served

OTHER = SecretStr("another long word")


def test_an_account_lives_through_all_its_changes(plant):
    admin = plant.person(Role.ADMIN, "root")
    admin.add_account(NewAccount(account="ann", role=Role.VIEWER, password=PASSWORD))
    ann = plant.client(plant.client().login(Login(account="ann", password=PASSWORD)).token)
    assert ann.me().role is Role.VIEWER

    changed = admin.change_account("ann", AccountChange(role=Role.ENGINEER, password=OTHER))
    assert (changed.role, changed.local) == (Role.ENGINEER, True)
    with pytest.raises(Refused, match="session that is not over"):
        ann.me()
    with pytest.raises(Refused, match="account or password is wrong"):
        plant.client().login(Login(account="ann", password=PASSWORD))
    assert plant.client().login(Login(account="ann", password=OTHER)).role is Role.ENGINEER

    assert admin.change_account("ann", AccountChange(disabled=True)).disabled_at is not None
    with pytest.raises(Refused, match="account or password is wrong"):
        plant.client().login(Login(account="ann", password=OTHER))
    assert admin.change_account("ann", AccountChange(disabled=False)).disabled_at is None

    assert [one.account for one in admin.accounts()] == ["ann", "root"]
    entries = list(export_entries(plant.hub))
    assert [(one.actor, one.action) for one in entries if one.subject == "ann"] == [
        ("root", "account add"),
        ("ann", "session begin"),
        ("root", "account change"),
        ("ann", "session begin"),
        ("root", "account change"),
        ("root", "account change"),
    ]
    assert not any(word in str(entries) for word in (PASSWORD, OTHER.get_secret_value(), "argon2"))


def test_logging_out_ends_this_session_only(sqlite_plant):
    here, there = (sqlite_plant.person(Role.VIEWER, "ann") for _ in range(2))
    here.logout()
    with pytest.raises(Refused) as refused:
        here.me()
    assert refused.value.status == 401
    assert there.me().account == "ann"


def test_a_session_ends_by_itself(sqlite_plant):
    ann = sqlite_plant.person(Role.VIEWER, "ann")
    with sqlite_plant.hub.database.writing() as connection:
        connection.execute(update(sessions).values(expires_at=sqlite_plant.hub.now()))
    with pytest.raises(Refused, match="not over"):
        ann.me()
    sqlite_plant.person(Role.VIEWER, "ann")  # the next login tidies up
    with sqlite_plant.hub.database.reading() as connection:
        assert len(connection.execute(select(sessions)).all()) == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ENGINEER])
def test_who_is_no_admin_lets_nobody_in(sqlite_plant, role):
    person = sqlite_plant.person(role)
    for forbidden in (
        person.accounts,
        lambda: person.add_account(NewAccount(account="x", role=Role.ADMIN)),
        lambda: person.change_account(f"{role}-1", AccountChange(role=Role.ADMIN)),
    ):
        with pytest.raises(Refused, match="this needs admin") as refused:
            forbidden()
        assert refused.value.status == 403


def test_an_account_is_added_once_and_changed_only_if_there(sqlite_plant):
    admin = sqlite_plant.person(Role.ADMIN, "root")
    with pytest.raises(Refused, match="is there already") as taken:
        admin.add_account(NewAccount(account="root", role=Role.VIEWER))
    with pytest.raises(Refused, match="is not there") as unknown:
        admin.change_account("nobody", AccountChange(disabled=True))
    assert (taken.value.status, unknown.value.status) == (409, 404)


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": Role.ENGINEER}], ids=str)
def test_the_last_admin_stays(sqlite_hub, change):
    add_account(sqlite_hub, NewAccount(account="root", role=Role.ADMIN), "test")
    add_account(sqlite_hub, NewAccount(account="old", role=Role.ADMIN), "test")
    change_account(sqlite_hub, "old", AccountChange(disabled=True), "test")
    with pytest.raises(Standing, match="last admin"):
        change_account(sqlite_hub, "root", AccountChange.model_validate(change), "root")


def test_two_admins_cannot_demote_each_other_at_once(hub):
    pair = ("ann", "bob")
    for name in pair:
        add_account(hub, NewAccount(account=name, role=Role.ADMIN), "test")
    together, refused = threading.Barrier(2), []

    def demote(other: str) -> None:
        together.wait()
        try:
            change_account(hub, other, AccountChange(role=Role.VIEWER), "test")
        except Standing:
            refused.append(other)

    threads = [threading.Thread(target=demote, args=(name,)) for name in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 1


def test_unknown_disabled_and_foreign_accounts_cost_a_guesser_as_much_time(sqlite_hub, monkeypatch):
    """Whatever the name, one Argon2 hash with today's parameters is verified."""
    verified = []

    class Counting(PasswordHasher):
        def verify(self, hashed, password):
            verified.append(hashed.split("$")[1:4])
            return super().verify(hashed, password)

    monkeypatch.setattr(owner, "HASHER", Counting())
    for name in ("ann", "off"):
        add_account(
            sqlite_hub, NewAccount(account=name, role=Role.VIEWER, password=PASSWORD), "test"
        )
    change_account(sqlite_hub, "off", AccountChange(disabled=True), "test")
    add_account(sqlite_hub, NewAccount(account="foreign", role=Role.VIEWER), "test")
    for name in ("ann", "off", "foreign", "nobody"):
        assert log_in(sqlite_hub, Login(account=name, password="guess")) is None
    assert len(verified) == 4
    assert all(one == verified[0] for one in verified)


def test_a_hash_of_weaker_parameters_is_renewed_by_the_next_login(sqlite_hub, monkeypatch):
    weak = owner.HASHER.hash(PASSWORD)
    monkeypatch.setattr(owner, "HASHER", PasswordHasher())
    row = {"account": "ann", "role": "viewer", "password_hash": weak}
    with sqlite_hub.database.writing() as connection:
        connection.execute(insert(accounts).values(**row, created_at=sqlite_hub.now()))
    for _ in range(2):
        assert log_in(sqlite_hub, Login(account="ann", password=PASSWORD)).account == "ann"
    with sqlite_hub.database.reading() as connection:
        (kept,) = connection.execute(select(accounts.c.password_hash)).scalars()
    assert not owner.HASHER.check_needs_rehash(kept)


def test_few_passwords_can_be_tried(make_hub, sqlite_url, caplog):
    hub = make_hub(sqlite_url, limits=LimitSettings(logins=2))
    with served(hub) as plant:
        plant.person(Role.VIEWER, "ann")
        client = plant.client()
        for _ in range(2):
            with pytest.raises(Refused, match="account or password is wrong"):
                client.login(Login(account="ann", password="guess"))
        with pytest.raises(Refused, match="too many wrong logins; wait") as refused:
            client.login(Login(account="Ann ", password=PASSWORD))
        answer = client._http.post("/v1/session", json={"account": "ann", "password": "y"})
    assert refused.value.status == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    told = [record for record in caplog.records if record.message.startswith("login refused")]
    assert [record.account for record in told] == ["ann"] * 4
    assert {record.address for record in told} == {"127.0.0.1"}
    assert "guess" not in caplog.text


def login(plant, account: str, password: str, forwarded_for: str | None) -> int:
    """Log in as the dashboard or a proxy on this machine forwards it; gives the status."""
    headers = {} if forwarded_for is None else {"X-Forwarded-For": forwarded_for}
    body = {"account": account, "password": password}
    return httpx.post(f"{plant.url}/v1/session", json=body, headers=headers).status_code


def test_wrong_passwords_through_the_dashboard_lock_nobody_else_out(make_hub, sqlite_url):
    """They count for an account from the address of the browser, which the dashboard forwards."""
    with served(make_hub(sqlite_url)) as plant:
        for name in ("ann", "bob"):
            plant.person(Role.VIEWER, name)
        guesses = [login(plant, "ann", f"guess {n}", "10.0.0.66") for n in range(8)]
        assert guesses == [401] * 5 + [429] * 3
        assert login(plant, "bob", PASSWORD, "10.0.0.66") == 200
        assert login(plant, "bob", PASSWORD, "10.0.0.7") == 200
        assert login(plant, "ann", PASSWORD, "10.0.0.7") == 200
        assert login(plant, "ann", PASSWORD, "10.0.0.66") == 429


def test_nobody_names_an_address_of_his_own(make_hub, sqlite_url):
    """What a client wrote before a trusted proxy's word is ignored; a stranger's word wholly."""
    with served(make_hub(sqlite_url)) as plant:
        plant.person(Role.VIEWER, "ann")
        guesses = [
            login(plant, "ann", "guess", f"10.0.0.{n}, 10.9.9.9, 127.0.0.1") for n in range(7)
        ]
        assert guesses == [401] * 5 + [429] * 2
    trusting_nobody = make_hub(sqlite_url, trusted_proxies=[])
    with served(trusting_nobody) as plant:
        guesses = [login(plant, "ann", "guess", f"10.0.0.{n}") for n in range(7)]
        assert guesses == [401] * 5 + [429] * 2


def test_an_owner_is_not_locked_out_from_elsewhere():
    """Where he has logged in, wrong ones from many other addresses do not count."""
    tries = Tries(2, clock=lambda: 0.0)
    assert tries.begin("ann", "home") == 0
    tries.forgive("ann", "home")
    assert [tries.begin("ann", f"10.0.0.{n}") for n in range(34)] == [0] * 32 + [60] * 2
    assert tries.begin("ann", "home") == 0
    assert tries.begin("bob", "home") == 0


def test_an_address_tries_few_accounts():
    tries = Tries(2, clock=lambda: 0.0)
    assert [tries.begin(f"a{n}", "10.0.0.1") for n in range(10)] == [0] * 8 + [60] * 2
    assert [tries.begin(None, "10.0.0.2") for n in range(10)] == [0] * 8 + [60] * 2


def test_right_logins_do_not_count():
    tries = Tries(2, clock=lambda: 0.0)
    for _ in range(50):
        assert tries.begin("a", "b") == 0
        tries.forgive("a", "b")
    assert [tries.begin("a", "b") for _ in range(3)] == [0, 0, 60]


def test_a_wrong_login_is_forgotten_after_a_minute():
    at = [0.0]
    tries = Tries(1, clock=lambda: at[0])
    assert tries.begin("a", "b") == 0
    at[0] = 45.0
    assert tries.begin("a", "b") == 15
    at[0] = 60.0
    assert tries.begin("a", "b") == 0


def test_many_tried_names_do_not_fill_the_memory():
    tries = Tries(1, clock=time.monotonic)
    for number in range(MOST_NAMES + 100):
        tries.begin(f"right {number}", f"10.0.{number}")
        tries.forgive(f"right {number}", f"10.0.{number}")
        tries.begin(f"wrong {number}", f"10.1.{number}")
    assert len(tries._wrong) <= MOST_NAMES
    assert len(tries._right) == MOST_NAMES


@pytest.mark.parametrize(
    "name",
    ["Ann", "ann ", "аnn", "ａnn", "a\u200bnn", "ann é", "station press", "-ann", "", "a" * 129],
    ids=ascii,
)
def test_a_name_that_can_be_taken_for_another_is_refused(name):
    """Cyrillic, wide and invisible letters, capitals, and words of the audit log."""
    with pytest.raises(ValidationError):
        NewAccount(account=name, role=Role.VIEWER)


def test_parts_of_the_hub_that_act_are_no_accounts():
    assert {copies.ACTOR, retention.ACTOR, challengers.POLICY, job.ACTOR} == NO_PEOPLE
    for name in NO_PEOPLE:
        with pytest.raises(ValidationError, match="how the audit log calls a part of the hub"):
            NewAccount(account=name, role=Role.VIEWER)


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "Passw0rd2026!",
        "P@ssw0rdP@ssw0rd",
        "qwertyuiop12",
        "1qaz2wsx3edc",
        "123456789012",
        "aaaaaaaaaaaa",
        "abcabcabcabc",
        "Welcome2026!!",
        "administrator",
        "iloveyou1234",
        "letmein123456",
        "Sommer2026!!",
        "inspection-hub-1",
        "ｐａｓｓｗｏｒｄ１２３４",
        "weberweber12",
        "my name is weber, truly",
        "1q2w3e4r5t6y",
        "q1w2e3r4t5y6",
        "zaq12wsxcde3",
        "drowssap1234",
        "mnbvcxz12345",
        "poiuytrewq12",
        "Steuerung2026",
    ],
)
def test_a_password_that_is_guessed_soon_is_refused_and_not_repeated(sqlite_hub, password):
    """Common words, walks over keys, and the account's own name."""
    new = NewAccount(account="weber", role=Role.VIEWER, password=password)
    with pytest.raises(ConfigError, match="password of account 'weber': it ") as refused:
        add_account(sqlite_hub, new, "test")
    assert password not in str(refused.value)
    add_account(sqlite_hub, NewAccount(account="weber", role=Role.VIEWER), "test")
    with pytest.raises(ConfigError, match="password of account 'weber': it "):
        change_account(sqlite_hub, "weber", AccountChange(password=password), "test")


@pytest.mark.parametrize(
    "password", [PASSWORD, "kJ7#vQ9!xM2$pL", "blue kettle, wet umbrella", "xkqjzvbwgmfh"]
)
def test_a_password_nobody_thinks_of_is_taken(sqlite_hub, password):
    new = NewAccount(account="weber", role=Role.VIEWER, password=password)
    assert add_account(sqlite_hub, new, "test").local


def test_a_weak_password_is_a_refusal_to_a_client(sqlite_plant):
    admin = sqlite_plant.person(Role.ADMIN, "root")
    with pytest.raises(Refused, match="it is guessed soon; wanted at least 5") as refused:
        admin.add_account(NewAccount(account="ann", role=Role.VIEWER, password="password1234"))
    assert refused.value.status == 422
