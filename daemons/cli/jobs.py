"""`headnode jobs`: what waits, and what for."""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from daemons.cli.common import ConfigOption, JsonOption, NothingKnown, print_rows, progress, read_config
from daemons.cli.gather import read_records
from daemons.cli.overview import Fate
from daemons.cli.status import LiveOption
from daemons.cli.work import WorkLine, chosen_lines, work_lines
from daemons.config import Config
from daemons.errors import HeadnodeError
from jobwatcher.record import Record, state_directory
from jobwatcher.stance import clock

COLUMNS = ("jobs", "count", "needs", "partitions", "waits", "waits for")
_IDS = 3  # so many of a line's ids are shown; --json has them all


class NoLiveLook(HeadnodeError):
    """Somebody who was to be asked did not answer."""

    code = "no-live-look"


def jobs(
    config: ConfigOption = None,
    live: LiveOption = False,
    fate: Annotated[
        list[Fate] | None,
        typer.Option(
            help="Only those that are about to start, wait for nodes that are coming or asked for, are kept by a limit, or are "
            "blocked: more nodes would not help. Repeatable."
        ),
    ] = None,
    partition: Annotated[str, typer.Option(metavar="NAME", help="Only those that may run in this partition or queue.")] = "",
    job: Annotated[str, typer.Option(metavar="ID", help="Only this job or array.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the waiting work: what each shape of job needs, and what it waits for.

    From jobwatcher's last look, unless --live is given. Exit code 1 if there is none.
    """
    record = _record(read_config(config), live=live)
    lines = chosen_lines(work_lines(record), wanted=frozenset(fate or ()), partition=partition, job=job)
    if as_json:
        typer.echo(json.dumps({"at": record.seen.now, "waiting": [asdict(line) for line in lines]}))
    elif lines:
        print_rows([_row(line) for line in lines], COLUMNS, as_json=False)
        count = sum(line.count for line in lines)
        typer.echo(f"{count} job{'s wait' if count > 1 else ' waits'}, as of {clock(record.seen.now)}")
    else:
        typer.echo(f"no {'such ' if fate or partition or job else ''}job waits, as of {clock(record.seen.now)}")


def _record(config: Config, *, live: bool) -> Record:
    recorded = read_records(config)
    if live:
        from daemons.cli.live import look_live  # noqa: PLC0415  AWS's libraries, which the record does not need
        from daemons.logs import configure_logs  # noqa: PLC0415

        configure_logs(level="error", stream=sys.stderr)
        with progress("asking"):
            answered = asyncio.run(look_live(config, recorded))
        if answered.records is recorded or answered.records.jobs is None:
            raise NoLiveLook("; ".join(answered.problems), hint="without --live the last look is shown")
        return answered.records.jobs
    if recorded.jobs is None:
        directory = state_directory(config.jobwatcher)
        raise NothingKnown(
            "; ".join(recorded.problems) or f"jobwatcher has recorded nothing in {directory}",
            hint="is it running? look at its log, or at jobwatcher.state_dir; or ask with --live",
        )
    return recorded.jobs


def _row(line: WorkLine) -> dict[str, object]:
    more = len(line.jobs) - _IDS
    ids = ", ".join(line.jobs[:_IDS]) + (f" and {more} more" if more > 0 else "")
    several = len(line.fates) > 1
    waits_for = [f"{one.jobs}: {one.sentence}" if several else one.sentence for one in line.fates]
    return {
        "jobs": ids,
        "count": line.count,
        "needs": line.needs,
        "partitions": list(line.partitions),
        "waits": duration(line.waits_s),
        "waits for": " | ".join(waits_for),
    }


def duration(seconds: float | None) -> str:
    """Such as 45 s, 12 min, 3.5 h; "" for none."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
