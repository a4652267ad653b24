"""`headnode iam`: what this cluster's roles, queue and topic need to be allowed, and nothing else."""

import re
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlsplit

import botocore.session
import typer
from botocore.exceptions import BotoCoreError, UnknownRegionError

from daemons.aws.permissions import Account, Role, render_policy
from daemons.cli.common import ConfigOption, read_config
from daemons.config import Config
from daemons.config.kinds import TOPIC_ARN
from daemons.errors import AwsUnavailable, ConfigError
from daemons.names import parse_match

app = typer.Typer(help="Policies of least privilege, made of the calls that headnode really makes.", no_args_is_help=True)

parse_topic = parse_match(TOPIC_ARN, "a topic's ARN")
parse_queue = parse_match(r"[A-Za-z0-9_-]{1,80}", "an SQS queue's name")
parse_rule = parse_match(r"[.A-Za-z0-9_/-]{1,128}", "an EventBridge rule's name")

_ACCOUNT = re.compile(r"[0-9]{12}")


@app.callback()
def iam() -> None:
    """Keeps `render` a command of its own, so that others may come."""


@app.command()
def render(
    role: Annotated[
        Role,
        typer.Option(
            help="head: the head node's role; compute: the nodes'; doctor: for `headnode doctor`, besides head; operator:"
            " for queue, logs and --live, besides head; queue, topic: the resource's own policy."
        ),
    ] = Role.HEAD,
    account: Annotated[
        str, typer.Option(metavar="NUMBER", help="The account, twelve digits; else from the queue's URL in the configuration.")
    ] = "",
    topics: Annotated[
        list[str] | None,
        typer.Option("--topic", metavar="ARN", help="The topic that the groups notify; else sqswatcher.topics. May be repeated."),
    ] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="NAME", help="EventBridge's rule that sends to the queue; else any. May be repeated."),
    ] = None,
    dead_letters: Annotated[
        str, typer.Option(metavar="NAME", help="The queue that messages are put aside in, for doctor and operator; else any.")
    ] = "",
    config: ConfigOption = None,
) -> None:
    """Print a policy for this cluster's resources as JSON, for `aws iam put-role-policy` and its like."""
    chosen = read_config(config)
    if topics:
        named = tuple(map(parse_topic, topics))
        chosen = replace(chosen, sqswatcher=replace(chosen.sqswatcher, topics=named))
    holder = Account(
        number=_account(account, chosen),
        partition=_partition(chosen.region),
        dead_letters=parse_queue(dead_letters) if dead_letters else "*",
    )
    typer.echo(render_policy(role, chosen, holder, rules=[parse_rule(name) for name in rules or ()]))
    if role in (Role.QUEUE, Role.TOPIC) and not chosen.sqswatcher.topics:
        typer.echo(
            "# no topic is named, so any of this account's is meant: sqswatcher.topics or --topic would narrow it", err=True
        )
    if role is Role.QUEUE and not rules:
        typer.echo("# no rule is named, so any of this account's may send: --rule would narrow it", err=True)
    if role in (Role.DOCTOR, Role.OPERATOR) and not dead_letters:
        typer.echo("# the queue of dead letters is not named, so any is allowed: --dead-letters would narrow it", err=True)
    if role is Role.HEAD and chosen.dns is not None and not chosen.dns.zone_id:
        typer.echo("# the zone is configured by name, so every zone is allowed: dns.zone_id would narrow it", err=True)


def _account(given: str, config: Config) -> str:
    known = given or urlsplit(config.queue).path.strip("/").partition("/")[0] if "://" in config.queue else given
    if _ACCOUNT.fullmatch(known) is None:
        came = f"{known!r} is none" if known else "the configuration names none"
        raise ConfigError(f"an account has twelve digits, and {came}", hint="give it with --account")
    return known


def _partition(region: str) -> str:
    try:
        return str(botocore.session.Session().get_partition_for_region(region))
    except UnknownRegionError as err:
        raise ConfigError(f"nobody knows which partition region {region} is in", hint="correct the region") from err
    except BotoCoreError as err:
        raise AwsUnavailable(f"AWS's list of regions cannot be read: {err}", hint="check AWS_PROFILE") from err
