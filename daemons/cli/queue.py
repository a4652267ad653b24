"""`headnode queue`: what is in the cluster's queue, and what has been put aside, and how that gets another chance."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from daemons.cli.common import ConfigOption, JsonOption, print_rows, printable, progress, read_config
from daemons.cli.sqs import DEAD, DEPTHS, ClusterQueue, Moved
from daemons.errors import AwsUnavailable
from daemons.lines import harmless
from sqswatcher.checking import Check, Checked, checker
from sqswatcher.messages import Malformed
from sqswatcher.parse import parse_message

app = typer.Typer(name="queue", help="Look into the cluster's queue.", no_args_is_help=True)

EXCERPT = 200
MOST = 100_000  # of one redrive
MostOption = Annotated[int, typer.Option(min=1, max=1000, help="Look at no more messages than that.")]


@app.command()
def depth(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """How many messages wait, are in work, and have been put aside, and how old the oldest is.

    The age is SQS's own word to CloudWatch, once a minute; empty where it has not said anything for a while.
    """
    found = ClusterQueue(read_config(config))
    rows = [{"queue": name, **found.depth(url), "oldest_s": _oldest_s(found, url)} for name, url in found.urls().items()]
    shown = rows if as_json else [row | {"oldest_s": _seconds(row["oldest_s"])} for row in rows]
    print_rows(shown, ["queue", *DEPTHS, "oldest_s"], as_json=as_json)


def _oldest_s(found: ClusterQueue, url: str) -> float | None:
    """The age is a bonus: who may look into the queue may lack the right to read metrics."""
    try:
        return found.oldest_s(url)
    except AwsUnavailable as err:
        typer.echo(f"the age of the oldest message is not known: {err}", err=True)
        return None


def _seconds(value: object) -> str:
    return "" if value is None else f"{value:.0f}"


@app.command("dead")
@app.command("quarantine", hidden=True)
def dead(config: ConfigOption = None, most: MostOption = 100, as_json: JsonOption = False) -> None:
    """List the messages that were put aside, with the reason and the age: they stay where they are.

    With sqswatcher.verify_sns their signatures are checked as sqswatcher does.
    """
    chosen = read_config(config)
    check, found = checker(chosen), ClusterQueue(chosen)
    url = _dead_letters(found)
    with progress("looking"):
        rows = asyncio.run(described(found.look(url, most), check, now=time.time()))
    if as_json or not rows:
        typer.echo(json.dumps(rows) if as_json else "nothing has been put aside")
    else:
        show_dead(rows)


def show_dead(rows: Sequence[Mapping[str, Any]]) -> None:
    """For people: a table, and what to do about all that, each once."""
    shown = [{**row, "body": harmless(row["body"])} for row in rows]
    print_rows(shown, ["message", "age_s", "received", "reason", "body"], as_json=False)
    for remedy in dict.fromkeys(row["remedy"] for row in rows if row["remedy"]):
        typer.echo(f"next: {remedy}")


@app.command()
def redrive(
    config: ConfigOption = None,
    apply: Annotated[bool, typer.Option("--apply/--plan", help="Move them, or only say what would be moved.")] = False,
    most: Annotated[int, typer.Option(min=1, max=MOST, help="Move no more messages than that.")] = MOST,
    as_json: JsonOption = False,
) -> None:
    """Give the messages that were put aside another chance: with --apply they go back into the queue, each once.

    A message that is malformed will be put aside again, and is left there then. Each is sent first and deleted after that: none
    can be lost. Exit code 1 if some came back at once, or were refused by SQS.
    """
    found = ClusterQueue(read_config(config))
    there = found.depth(_dead_letters(found))
    waiting, hidden = there["waiting"], there["in flight"] + there["delayed"]
    so_far = Moved()
    if apply:
        most_now = min(most, waiting + hidden)  # what was there: what comes back meanwhile is none of it
        with progress("moving messages", total=most_now) as tell:
            for so_far in found.move(most_now):
                tell(so_far.moved)
    stayed = what_stayed(so_far, waiting, most) if apply else {}
    left = sum(stayed.values()) if apply else waiting
    if as_json:
        reasons = [{"messages": count, "because": because} for because, count in stayed.items()]
        told = {"applied": apply, "waiting": waiting, "hidden": hidden, "moved": so_far.moved, "left": left, "stayed": reasons}
        typer.echo(json.dumps(told))
    else:
        _tell(so_far.moved if apply else None, min(most, waiting), waiting, hidden, stayed)
    if so_far.came_back or so_far.refused:
        raise typer.Exit(1)


def what_stayed(so_far: Moved, waiting: int, most: int) -> dict[str, int]:
    """How many are put aside still, by why."""
    refused = {f"SQS does not take them: {why}": count for why, count in so_far.refused.items()}
    beyond = max(0, waiting - most)
    told = {
        "they failed once more and came back while this ran: headnode queue dead says why": so_far.came_back,
        **refused,
        "--most was reached": beyond,
        "SQS did not hand them out, or somebody looks at them: try again in a minute": max(
            0, waiting - so_far.moved - sum(refused.values()) - beyond
        ),
    }
    return {because: count for because, count in told.items() if count}


def _tell(moved: int | None, would: int, waiting: int, hidden: int, stayed: Mapping[str, int]) -> None:
    if moved is None:
        typer.echo(f"{would} messages would be moved: add --apply")
    else:
        typer.echo(f"{moved} of {waiting} messages are in the queue again")
    for because, count in stayed.items():
        typer.echo(f"{count} stayed: {printable(because)}", err=True)
    if hidden:
        typer.echo(f"{hidden} more are hidden, because somebody looks at them: try again in a minute", err=True)


def _dead_letters(found: ClusterQueue) -> str:
    url = found.urls().get(DEAD)
    if url is None:
        typer.echo("the queue has no dead-letter queue: malformed messages stay in it until their retention ends", err=True)
        raise typer.Exit(1)
    return url


async def described(messages: Iterable[Mapping[str, Any]], check: Check, *, now: float) -> list[dict[str, Any]]:
    """A row each: why sqswatcher has not done what it says, as far as the message itself tells."""
    return [_describe(message, await check(str(message["Body"])), now) for message in messages]


def _describe(message: Mapping[str, Any], checked: Checked, now: float) -> dict[str, Any]:
    body, attributes = str(message["Body"]), message.get("Attributes", {})
    sent = str(attributes.get("SentTimestamp", ""))
    return {
        "message": message["MessageId"],
        "age_s": round(max(0.0, now - int(sent) / 1000)) if sent.isascii() and sent.isdecimal() else None,
        "received": attributes.get("ApproximateReceiveCount", "?"),
        "reason": f"refused: {checked.refused}" if checked.refused else _reason(checked.body),
        "remedy": checked.hint,
        "body": body if len(body) <= EXCERPT else f"{body[:EXCERPT]}…",
    }


def _reason(body: str) -> str:
    parsed = parse_message(body)
    return parsed.reason if isinstance(parsed, Malformed) else f"{type(parsed).__name__}: well formed, and never done"
