"""`headnode mqtt`: what the broker has to be told, and who may speak there."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Annotated

import typer

from daemons.broker import render_acl, render_conf, with_user, without_users
from daemons.cli.common import ConfigOption, read_config
from daemons.config import Config
from daemons.config.values import MqttConfig
from daemons.errors import ConfigError, HeadnodeError
from daemons.metrics import Topics

app = typer.Typer(help="Mosquitto's ACL, settings and users.", no_args_is_help=True)

_SALT_BYTES = 12
_LARGEST_FILE = 64 << 20
_MOSQUITTO = "mosquitto"  # the user as whom Debian runs it


class BrokerFiles(HeadnodeError):
    """A file of the broker cannot be read or written."""

    code = "broker-files"


@app.command()
def render(
    config: ConfigOption = None,
    directory: Annotated[
        Path | None,
        typer.Option("--directory", metavar="DIR", help="Write headnode.acl and headnode.conf there; else print the ACL."),
    ] = None,
    waker: Annotated[list[str] | None, typer.Option("--waker", metavar="USER", help="May wake jobwatcher. Repeatable.")] = None,
    cert_file: Annotated[str, typer.Option(help="The broker's certificate, where section `mqtt` has tls.")] = "",
    key_file: Annotated[str, typer.Option(help="The key of the broker's certificate.")] = "",
    client_ca: Annotated[
        str, typer.Option(metavar="FILE", help="Let in whom certificates signed by this authority name, instead of passwords.")
    ] = "",
) -> None:
    """Render the ACL that lets each node speak under its own instance id only.

    The services' user is `username` of section `mqtt`. Include headnode.conf from mosquitto.conf, and make the users with
    `headnode mqtt user`.
    """
    chosen = read_config(config)
    mqtt = _broker(chosen)
    topics = Topics(mqtt.topic, chosen.cluster)
    acl = render_acl(topics, services=[mqtt.username or "headnode"], wakers=waker or ())
    if directory is None:
        typer.echo(acl, nl=False)
        return
    if mqtt.tls and not (cert_file and key_file):
        raise ConfigError("[mqtt] has tls, and the broker's certificate is not named", hint="add --cert-file and --key-file")
    if client_ca and not mqtt.tls:
        raise ConfigError("certificates of clients need tls", hint="set tls in [mqtt], and add --cert-file and --key-file")
    directory = directory.absolute()
    acl_file, passwords = directory / "headnode.acl", directory / "headnode.passwords"
    conf = render_conf(
        mqtt,
        acl_file=str(acl_file),
        passwords=str(passwords),
        cert_file=cert_file,
        key_file=key_file,
        client_ca=client_ca,
    )
    _write(acl_file, acl, mode=0o600, owner=_MOSQUITTO)
    _write(directory / "headnode.conf", conf, mode=0o644)
    if not client_ca and not passwords.exists():
        _write(passwords, "", mode=0o600, owner=_MOSQUITTO)
    for path in (acl_file, directory / "headnode.conf", *(() if client_ca else (passwords,))):
        typer.echo(path)


@app.command()
def user(
    names: Annotated[list[str], typer.Argument(help="Users: the services', or the instance ids of nodes.")],
    passwords: Annotated[Path, typer.Option("--passwords", metavar="FILE", help="Mosquitto's password file.")],
    secret: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Where the new user's password is written, mode 600.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the users away instead.")] = False,
) -> None:
    """Give a user a new random password, or take users away. Mosquitto reads the file again on SIGHUP.

    The password goes to --password-file alone, or with no such option to standard output; never into the log.
    """
    text = _read(passwords)
    if remove:
        _write(passwords, without_users(text, names), mode=0o600, owner=_MOSQUITTO)
        return
    if len(names) != 1:
        raise ConfigError("one user at a time gets a password", hint="call it once for each")
    password = secrets.token_urlsafe(24)
    changed = with_user(text, names[0], password, salt=secrets.token_bytes(_SALT_BYTES))
    if secret is not None:
        _write(secret, password + "\n", mode=0o600)
    _write(passwords, changed, mode=0o600, owner=_MOSQUITTO)
    if secret is None:
        typer.echo(password)


def _broker(config: Config) -> MqttConfig:
    if config.mqtt is None:
        raise ConfigError("the configuration names no MQTT broker", hint="add [mqtt] with its host")
    return config.mqtt


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_LARGEST_FILE)
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as err:
        raise BrokerFiles(f"reading {path}: {err}") from err


def _write(path: Path, text: str, *, mode: int, owner: str = "") -> None:
    """The whole file or nothing. A file that is there keeps its owner and mode; a new one of root's becomes `owner`'s, where
    there is such a user: Mosquitto reads its files again as itself.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if path.exists():
            before = path.stat()
            os.chown(partial, before.st_uid, before.st_gid)
            mode = before.st_mode & 0o777
        elif owner and os.geteuid() == 0:
            with contextlib.suppress(LookupError):
                shutil.chown(partial, owner, owner)
        partial.chmod(mode)
        partial.replace(path)
    except OSError as err:
        partial.unlink(missing_ok=True)
        raise BrokerFiles(f"writing {path}: {err}", hint="run it as a user who may write there") from err
