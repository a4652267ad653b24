"""The queue of the cluster's events, and the one behind it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from daemons.config import Config
from daemons.doctor.findings import Finding, Severity, judged
from daemons.doctor.judges.policy import Statement, admits, parse_policy, strangers
from daemons.errors import InvalidValue

SHORTEST_RETENTION_S = 3600
FEWEST_RECEIVES = 3
BACKLOG = 1000
_SEND = "sqs:SendMessage"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """The queue behind. `retention_s` and `waiting` are None where there is no such queue."""

    arn: str
    max_receives: int
    retention_s: int | None = None
    waiting: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    url: str
    arn: str
    retention_s: int
    delay_s: int
    waiting: int
    key: str  # of KMS; "" without one
    policy: tuple[Statement, ...] | None  # None: there is one, and it cannot be read
    dead_letters: DeadLetters | None

    @property
    def name(self) -> str:
        return self.arn.rpartition(":")[2]


def parse_queue(url: str, attributes: Mapping[str, str]) -> QueueFacts:
    """SQS's attributes of a queue. Raises InvalidValue for what they never are."""
    try:
        return QueueFacts(
            url=url,
            arn=attributes["QueueArn"],
            retention_s=int(attributes["MessageRetentionPeriod"]),
            delay_s=int(attributes.get("DelaySeconds", 0)),
            waiting=int(attributes.get("ApproximateNumberOfMessages", 0)),
            key=attributes.get("KmsMasterKeyId", ""),
            policy=_policy(attributes.get("Policy", "")),
            dead_letters=_dead_letters(attributes.get("RedrivePolicy", "")),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise InvalidValue(f"SQS described queue {url} in a way that cannot be read: {err!r}") from err


def _policy(text: str) -> tuple[Statement, ...] | None:
    try:
        return parse_policy(text)
    except ValueError:
        return None


def _dead_letters(text: str) -> DeadLetters | None:
    if not text:
        return None
    redrive = json.loads(text)
    return DeadLetters(arn=str(redrive["deadLetterTargetArn"]), max_receives=int(redrive["maxReceiveCount"]))


def check_queue(queue: QueueFacts, config: Config) -> Iterator[Finding]:
    """Everything about the queue itself."""
    yield Finding(id="queue-exists", severity=Severity.OK, looked_at=config.queue, found=queue.arn)
    yield check_kind(queue)
    yield check_retention(queue)
    yield check_delay(queue)
    yield check_backlog(queue)
    yield check_encryption(queue)
    yield from check_dead_letters(queue)


def check_kind(queue: QueueFacts) -> Finding:
    return judged(
        "queue-kind",
        queue.name,
        "it is a FIFO queue" if queue.name.endswith(".fifo") else "it is a standard queue",
        holds=not queue.name.endswith(".fifo"),
        remedy="make a standard queue: Auto Scaling's topics and EventBridge's rules do not send to this one as they are",
    )


def check_retention(queue: QueueFacts) -> Finding:
    return judged(
        "queue-retention",
        queue.name,
        f"messages are kept for {queue.retention_s} s",
        holds=queue.retention_s >= SHORTEST_RETENTION_S,
        otherwise=Severity.WARNING,
        remedy=_set(queue, "MessageRetentionPeriod", 345_600),
    )


def check_delay(queue: QueueFacts) -> Finding:
    return judged(
        "queue-delay",
        queue.name,
        f"every message is held back for {queue.delay_s} s" if queue.delay_s else "messages are delivered at once",
        holds=queue.delay_s == 0,
        otherwise=Severity.WARNING,
        remedy=_set(queue, "DelaySeconds", 0),
    )


def check_backlog(queue: QueueFacts) -> Finding:
    return judged(
        "queue-backlog",
        queue.name,
        f"{queue.waiting} messages wait",
        holds=queue.waiting < BACKLOG,
        otherwise=Severity.WARNING,
        remedy="see why sqswatcher does not take them: `systemctl status sqswatcher`, `journalctl -u sqswatcher`",
    )


def check_encryption(queue: QueueFacts) -> Finding:
    """SNS and EventBridge cannot use the key that AWS manages for SQS."""
    return judged(
        "queue-encryption",
        queue.name,
        f"it is encrypted with {queue.key}" if queue.key else "it is not encrypted with a key of KMS",
        holds="alias/aws/sqs" not in queue.key,
        remedy=f"use SQS's own encryption (aws sqs set-queue-attributes --queue-url {queue.url} --attributes KmsMasterKeyId="
        ",SqsManagedSseEnabled=true), or a key of your own whose policy admits sns.amazonaws.com and events.amazonaws.com",
    )


def check_dead_letters(queue: QueueFacts) -> Iterator[Finding]:
    dead = queue.dead_letters
    yield judged(
        "queue-dead-letters",
        queue.name,
        "there is none" if dead is None else f"{dead.arn}, which is not there" if dead.retention_s is None else dead.arn,
        holds=dead is not None and dead.retention_s is not None,
        otherwise=Severity.WARNING if dead is None else Severity.ERROR,
        remedy="make a queue for what cannot be understood, and name it in this one's RedrivePolicy, with maxReceiveCount 5:"
        f" aws sqs set-queue-attributes --queue-url {queue.url} --attributes RedrivePolicy=…",
    )
    if dead is None or dead.retention_s is None:
        return
    yield judged(
        "queue-max-receives",
        queue.name,
        f"a message is put aside after {dead.max_receives} receives",
        holds=dead.max_receives >= FEWEST_RECEIVES,
        otherwise=Severity.WARNING,
        remedy="set maxReceiveCount of the redrive policy to 5 or more: a restart of sqswatcher costs a message a receive",
    )
    yield judged(
        "queue-dead-letter-retention",
        dead.arn.rpartition(":")[2],
        f"what is put aside ends {dead.retention_s} s after it was sent; in the queue it is {queue.retention_s} s",
        holds=dead.retention_s >= queue.retention_s,
        otherwise=Severity.WARNING,
        remedy="set MessageRetentionPeriod of the dead-letter queue to 1209600",
    )
    yield judged(
        "queue-put-aside",
        dead.arn.rpartition(":")[2],
        f"{dead.waiting} messages have been put aside",
        holds=not dead.waiting,
        otherwise=Severity.NOTE,
        remedy="headnode queue dead",
    )


def check_senders(queue: QueueFacts, *, topics: Iterable[str], rules: Iterable[str]) -> Iterator[Finding]:
    """May those send that are to, and nobody else? `topics` and `rules` are ARNs."""
    remedy = (
        f"put the policy of `headnode iam render --role queue`: aws sqs set-queue-attributes --queue-url {queue.url}"
        " --attributes Policy=…"
    )
    if queue.policy is None:
        yield Finding(
            id="queue-policy", severity=Severity.ERROR, looked_at=queue.name, found="its policy cannot be read", remedy=remedy
        )
        return
    for check, service, arns in (("topic", "sns.amazonaws.com", topics), ("rule", "events.amazonaws.com", rules)):
        for arn in arns:
            admitted = admits(queue.policy, _SEND, service=service, source_arn=arn)
            found = f"{arn} may {'' if admitted else 'not '}send to it"
            yield judged(f"queue-admits-{check}", queue.name, found, holds=admitted, remedy=remedy)
    others = strangers(queue.policy, _SEND)
    yield judged(
        "queue-strangers",
        queue.name,
        f"it takes messages from other accounts: {', '.join(others)}" if others else "it takes messages from this account alone",
        holds=not others,
        otherwise=Severity.ERROR if "*" in others else Severity.WARNING,
        remedy=remedy,
    )


def _set(queue: QueueFacts, attribute: str, value: int) -> str:
    return f"aws sqs set-queue-attributes --queue-url {queue.url} --attributes {attribute}={value}"
