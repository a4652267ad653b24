"""The topics that the groups notify, and whether what they are told reaches the queue."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from daemons.doctor.findings import Finding, Severity, judged
from daemons.doctor.judges.policy import Statement, strangers


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    arn: str  # "PendingConfirmation" until it is confirmed
    protocol: str
    endpoint: str
    filter: str = ""
    raw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    arn: str
    exists: bool = True
    policy: tuple[Statement, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()


def check_topic(topic: TopicFacts, queue_arn: str, *, verify: bool = False, named: Collection[str] = ()) -> Iterator[Finding]:
    """Everything about one topic. `verify`: signatures are checked, and only topics that are `named` are believed."""
    yield judged(
        "topic-exists",
        topic.arn,
        "it is there" if topic.exists else "there is no such topic",
        holds=topic.exists,
        remedy=f"make the topic (aws sns create-topic --name {topic.arn.rpartition(':')[2]}), or have the groups notify another",
    )
    if topic.exists:
        yield from check_subscription(topic, queue_arn)
        yield check_publishers(topic)
    if verify:
        yield from check_signatures(topic, queue_arn, named)


def check_subscription(topic: TopicFacts, queue_arn: str) -> Iterator[Finding]:
    ours = [one for one in topic.subscriptions if one.protocol == "sqs" and one.endpoint == queue_arn]
    confirmed = [one for one in ours if one.arn.startswith("arn:")]
    yield judged(
        "topic-subscription",
        topic.arn,
        "the queue is subscribed" if confirmed else "it waits to be confirmed" if ours else "the queue is not subscribed",
        holds=bool(confirmed),
        remedy=f"aws sns subscribe --topic-arn {topic.arn} --protocol sqs --notification-endpoint {queue_arn}",
    )
    for one in confirmed:
        yield judged(
            "topic-filter",
            topic.arn,
            f"only some messages pass: {one.filter[:200]}" if one.filter else "all messages pass",
            holds=not one.filter,
            otherwise=Severity.WARNING,
            remedy=f"aws sns set-subscription-attributes --subscription-arn {one.arn} --attribute-name FilterPolicy"
            " --attribute-value '{}'",
        )


def check_publishers(topic: TopicFacts) -> Finding:
    others = strangers(topic.policy, "sns:Publish")
    return judged(
        "topic-strangers",
        topic.arn,
        f"other accounts may publish: {', '.join(others)}" if others else "only this account may publish",
        holds=not others,
        otherwise=Severity.ERROR if "*" in others else Severity.WARNING,
        remedy=f"aws sns set-topic-attributes --topic-arn {topic.arn} --attribute-name Policy --attribute-value"
        ' "$(headnode iam render --role topic)"',
    )


def check_signatures(topic: TopicFacts, queue_arn: str, named: Collection[str]) -> Iterator[Finding]:
    """With `sqswatcher.verify_sns`: an envelope has to come along, and from a topic that is known."""
    yield judged(
        "topic-named",
        topic.arn,
        f"sqswatcher.topics {'names it' if topic.arn in named else 'does not name it, so that it is not believed'}",
        holds=topic.arn in named,
        remedy=f'add "{topic.arn}" to sqswatcher.topics',
    )
    for one in topic.subscriptions:
        if one.endpoint == queue_arn and one.arn.startswith("arn:"):
            yield judged(
                "topic-raw-delivery",
                topic.arn,
                "messages come without their envelope, and so without a signature" if one.raw else "messages come in envelopes",
                holds=not one.raw,
                remedy=f"aws sns set-subscription-attributes --subscription-arn {one.arn} --attribute-name RawMessageDelivery"
                " --attribute-value false",
            )


def check_rules(rules: Iterable[str], *, has_spot: bool) -> Finding:
    """Spot interruptions, rebalance recommendations and scheduled changes come through EventBridge alone."""
    names = sorted(rules)
    return judged(
        "event-rule",
        "EventBridge's rules with the queue as their target",
        ", ".join(names) if names else "there is none, so nobody tells of Spot interruptions and scheduled changes",
        holds=bool(names),
        otherwise=Severity.WARNING if has_spot else Severity.NOTE,
        remedy="make a rule for aws.ec2's and aws.health's events with the queue as its target: aws events put-rule, aws events"
        " put-targets",
    )
