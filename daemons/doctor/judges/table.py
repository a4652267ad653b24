"""The table of instances."""

from collections.abc import Iterator
from dataclasses import dataclass

from daemons.doctor.findings import Finding, Severity, judged

KEY, KEY_KIND, TTL = "instanceId", "S", "expires_at"
FEWEST_UNITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """`reads` and `writes` are provisioned units, None where it is paid by request. `ttl` is the attribute, "" if it is off."""

    name: str
    status: str
    keys: tuple[tuple[str, str], ...]  # name and kind, the partition key first
    reads: int | None
    writes: int | None
    ttl: str


def check_table(table: TableFacts) -> Iterator[Finding]:
    """Everything about the table."""
    yield judged(
        "table-exists",
        table.name,
        f"it is {table.status}",
        holds=table.status in ("ACTIVE", "UPDATING"),
        remedy=f"aws dynamodb wait table-exists --table-name {table.name}",
    )
    yield check_key(table)
    yield check_ttl(table)
    yield check_throughput(table)


def check_key(table: TableFacts) -> Finding:
    shown = ", ".join(f"{name} ({kind})" for name, kind in table.keys)
    return judged(
        "table-key",
        table.name,
        f"its key is {shown}",
        holds=table.keys == ((KEY, KEY_KIND),),
        remedy=f"make a table whose only key is {KEY} ({KEY_KIND}, HASH) and name it as table: aws dynamodb create-table"
        f" --table-name … --key-schema AttributeName={KEY},KeyType=HASH --attribute-definitions"
        f" AttributeName={KEY},AttributeType={KEY_KIND} --billing-mode PAY_PER_REQUEST",
    )


def check_ttl(table: TableFacts) -> Finding:
    return judged(
        "table-ttl",
        table.name,
        f"items end at their {table.ttl}" if table.ttl else "items never end, so that the table grows with every instance",
        holds=table.ttl == TTL,
        otherwise=Severity.WARNING,
        remedy=f"aws dynamodb update-time-to-live --table-name {table.name} --time-to-live-specification"
        f" Enabled=true,AttributeName={TTL}",
    )


def check_throughput(table: TableFacts) -> Finding:
    few = min(units for units in (table.reads, table.writes, FEWEST_UNITS) if units is not None)
    paid = "by request" if table.reads is None else f"for {table.reads} reads and {table.writes} writes a second"
    return judged(
        "table-throughput",
        table.name,
        f"it is paid {paid}",
        holds=few >= FEWEST_UNITS,
        otherwise=Severity.WARNING,
        remedy=f"aws dynamodb update-table --table-name {table.name} --billing-mode PAY_PER_REQUEST",
    )
