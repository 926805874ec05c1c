"""The commands of the plant's hub: serve it, let people and stations in, audit, back up."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from inspection.cli.arguments import Json, TrustedKeys, new_app, say
from inspection.cli.tables import aligned
from inspection.core.config import SettingsT, load_config
from inspection.core.errors import ConfigError
from inspection.core.limits import MAX_TEXT_BYTES, read_file

if TYPE_CHECKING:
    from inspection.hub.backup import Contents
    from inspection.hub.hub import Hub
    from inspection.hub.settings import HubConfig
    from inspection.hub.stations import EnrolledStation
    from inspection.hub.wire.people import Account, AuditCheck, NewToken
    from inspection.retraining.due import RetrainingDesk

ACTOR = "command line"
hub = new_app("Serve and keep the plant's hub.")
account = new_app("Let people in.")
station = new_app("Let stations in.")
bundle = new_app("Take bundles in and choose which of them judges.")
audit = new_app("Check and export the audit log.")
hub.add_typer(account, name="account")
hub.add_typer(station, name="station")
hub.add_typer(bundle, name="bundle")
hub.add_typer(audit, name="audit")

ConfigFile = Annotated[Path, typer.Option("--config", help="the hub's configuration")]
BackupKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-key", metavar="KEY", help="backup:… of who made it; else this machine's own"
    ),
]
CONFIG = Path("configs/hub.yaml")
Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="name of the account")]
Station = Annotated[str, typer.Argument(metavar="STATION", help="its name, unique in the plant")]
Role = Annotated[str, typer.Option(help="viewer, reviewer, engineer or admin")]
PasswordFile = Annotated[
    Path | None, typer.Option(help="file whose first line is the password; else it is asked for")
]


@hub.command("serve")
def serve(
    config: ConfigFile = CONFIG,
    retraining: Annotated[
        Path | None, typer.Option(help="configuration of the retraining to run beside it")
    ] = None,
) -> None:
    """Serve stations, the dashboard and other clients until a signal ends it.

    Example: inspection hub serve --config configs/hub.yaml
    """
    from inspection.hub.service import serve as run

    run(_settings(config), None if retraining is None else _beside(config, retraining))


@account.command("add")
def add_account(
    name: Name,
    role: Role,
    password_file: PasswordFile = None,
    oidc: Annotated[
        bool, typer.Option("--oidc", help="no password: comes by the identity provider")
    ] = False,
    config: ConfigFile = CONFIG,
    as_json: Json = False,
) -> None:
    """Make an account; the password is asked for, or read from a file.

    Example: inspection hub account add weber --role engineer
    """
    from inspection.hub.accounts import add_account as add
    from inspection.hub.wire.people import NewAccount

    password = None if oidc else _password(password_file)
    new = _checked(NewAccount, account=name, role=role, password=password)
    with opened_hub(config) as opened:
        added = add(opened, new, ACTOR)
    say(added, _accounts_text((added,)), as_json=as_json)


@account.command("list")
def list_accounts(config: ConfigFile = CONFIG, as_json: Json = False) -> None:
    """List accounts: who may do what, and how they log in.

    Example: inspection hub account list
    """
    from inspection.hub.accounts import list_accounts as accounts

    with opened_hub(config) as opened:
        listed = accounts(opened)
    say(listed, _accounts_text(listed), as_json=as_json)


@account.command("change")
def change_account(
    name: Name,
    role: Role | None = None,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="whether they may log in")
    ] = None,
    new_password: Annotated[
        bool, typer.Option("--new-password", help="ask for a new password")
    ] = False,
    password_file: PasswordFile = None,
    config: ConfigFile = CONFIG,
    as_json: Json = False,
) -> None:
    """Change a role or password, disable or enable an account; its sessions end.

    Example: inspection hub account change weber --role admin
    """
    from inspection.hub.accounts import change_account as change
    from inspection.hub.wire.people import AccountChange

    password = _password(password_file) if new_password or password_file else None
    wanted = _checked(AccountChange, role=role, disabled=disabled, password=password)
    with opened_hub(config) as opened:
        changed = change(opened, name, wanted, ACTOR)
    say(changed, _accounts_text((changed,)), as_json=as_json)


@station.command("enrol")
def enrol(
    name: Station,
    line: Annotated[str, typer.Option(help="the line it stands in")],
    config: ConfigFile = CONFIG,
    as_json: Json = False,
) -> None:
    """Enrol a station and print its token, which is shown this once.

    Example: inspection hub station enrol station-1 --line line-1
    """
    from inspection.hub.stations import enrol as enrol_station
    from inspection.hub.wire.line import NewStation

    new = _checked(NewStation, station=name, line=line)
    with opened_hub(config) as opened:
        token = enrol_station(opened, new, ACTOR)
    say(token, _token_text(token), as_json=as_json)


@station.command("rotate")
def rotate(name: Station, config: ConfigFile = CONFIG, as_json: Json = False) -> None:
    """Print one more token of a station; the old ones hold until they are revoked.

    Example: inspection hub station rotate station-1
    """
    from inspection.hub.stations import rotate as add_token

    with opened_hub(config) as opened:
        token = add_token(opened, name, ACTOR)
    say(token, _token_text(token), as_json=as_json)


@station.command("revoke")
def revoke(
    name: Station,
    token: Annotated[int, typer.Argument(metavar="TOKEN", help="its number in station list")],
    config: ConfigFile = CONFIG,
) -> None:
    """Revoke a token; it is refused from the next request on.

    Example: inspection hub station revoke station-1 3
    """
    from inspection.hub.stations import revoke as revoke_token

    with opened_hub(config) as opened:
        revoke_token(opened, name, token, ACTOR)
    typer.echo(f"token {token} of {name} is revoked")


@station.command("list")
def list_stations(config: ConfigFile = CONFIG, as_json: Json = False) -> None:
    """List stations and their tokens, without the secrets.

    Example: inspection hub station list
    """
    from inspection.hub.stations import enrolled_stations

    with opened_hub(config) as opened:
        listed = enrolled_stations(opened)
    say(listed, _stations_text(listed), as_json=as_json)


@bundle.command("add")
def add_bundle(
    folder: Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's folder")],
    trusted_key: TrustedKeys = None,
    config: ConfigFile = CONFIG,
    as_json: Json = False,
) -> None:
    """Take a bundle in that passed its gate; it judges nowhere until it is chosen.

    Example: inspection hub bundle add demo/bundle
    """
    from inspection.hub.models import add_bundle as add

    with opened_hub(config) as opened:
        added = add(opened, folder, ACTOR, tuple(trusted_key) if trusted_key else None)
    say(added, f"{added.bundle_id}  {added.name}", as_json=as_json)


@bundle.command("choose")
def choose(
    line: Annotated[str, typer.Argument(metavar="LINE", help="on which it is to judge")],
    bundle_id: Annotated[str, typer.Argument(metavar="BUNDLE_ID", help="as bundle add said")],
    why: Annotated[str, typer.Option(help="why it is chosen")],
    config: ConfigFile = CONFIG,
    as_json: Json = False,
) -> None:
    """Let a bundle judge on a line, newer or older than the one that does.

    Example: inspection hub bundle choose line-1 0123abcd --why glare
    """
    from inspection.hub.models import choose as choose_bundle
    from inspection.hub.wire.models import NewChoice

    new = _checked(NewChoice, bundle_id=bundle_id, comment=why)
    with opened_hub(config) as opened:
        chosen = choose_bundle(opened, line, new, ACTOR)
    say(chosen, f"{chosen.bundle_id}  judges on {chosen.line} as {chosen.name}", as_json=as_json)


@audit.command("verify")
def verify(
    head: Annotated[
        str | None, typer.Option(help="hash written down when it was the last entry's")
    ] = None,
    config: ConfigFile = CONFIG,
    as_json: Json = False,
) -> None:
    """Check the chain of the audit log: was an entry changed or deleted? Exit 1 when one was.

    Example: inspection hub audit verify
    """
    from inspection.hub.audit import verify_audit

    with opened_hub(config) as opened:
        check = verify_audit(opened, head)
    say(check, _check_text(check), as_json=as_json)
    raise typer.Exit(0 if check.sound else 1)


@audit.command("export")
def export(config: ConfigFile = CONFIG) -> None:
    """Print the audit log as JSON lines, the oldest entry first.

    Example: inspection hub audit export > audit.jsonl
    """
    from inspection.hub.audit import export_entries

    with opened_hub(config) as opened:
        for entry in export_entries(opened):
            typer.echo(entry.model_dump_json())


@hub.command("backup")
def backup(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder to make")],
    config: ConfigFile = CONFIG,
    as_json: Json = False,
) -> None:
    """Write the whole hub into a folder, one consistent state; the hub may go on meanwhile.

    Example: inspection hub backup backups/today
    """
    from inspection.hub.backup import back_up

    with opened_hub(config) as opened:
        contents = back_up(opened, out, ACTOR)
    say(contents, _contents_text(contents), as_json=as_json)


@hub.command("restore")
def restore(
    folder: Annotated[Path, typer.Argument(metavar="BACKUP", help="folder of hub backup")],
    trusted_key: BackupKeys = None,
    config: ConfigFile = CONFIG,
    as_json: Json = False,
) -> None:
    """Fill an empty hub, on SQLite or PostgreSQL, from a backup of either.

    Example: inspection hub restore backups/today
    """
    from inspection.hub.backup import restore as fill

    with opened_hub(config) as opened:
        contents = fill(opened, folder, ACTOR, tuple(trusted_key) if trusted_key else None)
    say(contents, _contents_text(contents), as_json=as_json)


@hub.command("retention")
def retention(config: ConfigFile = CONFIG, as_json: Json = False) -> None:
    """Delete what is older than the settings keep, as a serving hub does every hour.

    Example: inspection hub retention
    """
    from inspection.hub.retention import Retention

    with opened_hub(config) as opened:
        gone = Retention(opened).round()
    text = f"deleted: {gone.events} events, {gone.pictures} pictures, {gone.artefacts} files"
    say(gone, text, as_json=as_json)


def _beside(
    hub_file: Path, file: Path
) -> "Callable[[Hub], AbstractContextManager[RetrainingDesk]]":
    from inspection.retraining.local import launch
    from inspection.retraining.scheduler import retraining_beside
    from inspection.retraining.settings import RetrainingConfig

    settings = load_config(file, RetrainingConfig)
    started = partial(launch, hub_file=hub_file, file=file)
    return partial(retraining_beside, config=settings, launch=started)


def _settings(path: Path) -> "HubConfig":
    from inspection.hub.settings import HubConfig

    return load_config(path, HubConfig)


@contextmanager
def opened_hub(config: Path, *, is_there: bool = False) -> Iterator["Hub"]:
    """Open the hub of a configuration until the block ends; maybe only one that is there."""
    from inspection.hub.database import require_there
    from inspection.hub.hub import open_hub

    settings = _settings(config)
    if is_there:
        require_there(settings)
    opened = open_hub(settings)
    try:
        yield opened
    finally:
        opened.close()


def _checked(model: type[SettingsT], **values: object) -> SettingsT:
    """Check words of the command line; a complaint never repeats them, one may be a password."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ConfigError(f"command line: {'; '.join(told)}") from None


def _password(file: Path | None) -> str:
    if file is None:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    try:
        return read_file(file, MAX_TEXT_BYTES, follow=True).decode().splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise ConfigError(f"{file}: holds no password in its first line ({error})") from None


def _accounts_text(listed: "tuple[Account, ...]") -> str:
    rows = [("account", "role", "logs in by", "state")]
    for one in listed:
        by = "password" if one.local else "identity provider"
        rows.append((one.account, one.role, by, "disabled" if one.disabled_at else "enabled"))
    return aligned(rows)


def _token_text(token: "NewToken") -> str:
    keys = "\n".join(f"  - {key}" for key in token.trusted_keys)
    said = f"token {token.id} of {token.station}; nobody can read it again"
    return f"{token.token}\n{said}\n\nfor its station.yaml:\ntrusted_keys:\n{keys}"


def _stations_text(listed: "tuple[EnrolledStation, ...]") -> str:
    rows = [("station", "line", "token", "made", "used last", "state")]
    for one in listed:
        gone = "retired" if one.retired_at else None
        for token in one.tokens:
            used = f"{token.used_at:%Y-%m-%d %H:%M}" if token.used_at else "never"
            state = gone or ("revoked" if token.revoked_at else "holds")
            made = f"{token.created_at:%Y-%m-%d}"
            rows.append((one.station, one.line, str(token.id), made, used, state))
    return aligned(rows)


def _check_text(check: "AuditCheck") -> str:
    state = "sound" if check.sound else f"NOT sound: {check.problem}"
    return f"{check.entries} entries, {state}\nhead {check.head}"


def _contents_text(contents: "Contents") -> str:
    rows = [(name, f"{part.lines:,}") for name, part in contents.tables.items()]
    rows.append(("artefacts", f"{contents.artefacts.lines:,} ({contents.bytes / 1e6:,.1f} MB)"))
    rows.append(("missing", f"{contents.missing:,}"))
    return f"{aligned(rows)}\naudit head {contents.audit_head}"
