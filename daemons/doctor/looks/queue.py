"""The queue, the one behind it, and who may send."""

from collections.abc import Sequence
from dataclasses import replace

from daemons.aws.session import translated
from daemons.doctor.findings import Finding, Severity
from daemons.doctor.judges import queue as judge
from daemons.doctor.looks.absence import is_absent
from daemons.doctor.looks.groups import fetch_topic_arns
from daemons.doctor.scene import Scene
from daemons.errors import AwsRefused


async def fetch_queue(scene: Scene) -> judge.QueueFacts | None:
    """The queue with what is behind it; None where it does not exist."""
    client, name = await scene.clients.get("sqs"), scene.config.queue
    try:
        with translated("looking at the queue", name):
            url = name if "://" in name else (await client.get_queue_url(QueueName=name))["QueueUrl"]
            answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    except AwsRefused as err:
        if not is_absent(err.error_code):
            raise
        return None
    queue = judge.parse_queue(url, answer["Attributes"])
    return replace(queue, dead_letters=await _behind(scene, queue.dead_letters)) if queue.dead_letters else queue


async def _behind(scene: Scene, dead: judge.DeadLetters) -> judge.DeadLetters:
    client, parts = await scene.clients.get("sqs"), dead.arn.split(":")
    names = ["MessageRetentionPeriod", "ApproximateNumberOfMessages"]
    try:
        with translated("looking at the dead-letter queue", dead.arn):
            url = (await client.get_queue_url(QueueName=parts[-1]))["QueueUrl"]
            found = (await client.get_queue_attributes(QueueUrl=url, AttributeNames=names))["Attributes"]
    except AwsRefused as err:
        if not is_absent(err.error_code):
            raise
        return dead
    return replace(dead, retention_s=int(found[names[0]]), waiting=int(found[names[1]]))


async def look_at_queue(scene: Scene) -> Sequence[Finding]:
    queue = await scene.once("queue", fetch_queue)
    if queue is None:
        remedy = "make it (aws sqs create-queue), or correct queue and region; SQS says the same of a queue that we may not see"
        return [
            Finding(
                id="queue-exists",
                severity=Severity.ERROR,
                looked_at=scene.config.queue,
                found="there is no such queue",
                remedy=remedy,
            )
        ]
    return list(judge.check_queue(queue, scene.config))


async def look_at_senders(scene: Scene) -> Sequence[Finding]:
    queue = await scene.once("queue", fetch_queue)
    if queue is None:
        return ()
    topics = await scene.once("topics", fetch_topic_arns)
    rules = await scene.once("rules", fetch_rules)
    region, account = queue.arn.split(":")[3:5]
    partition = queue.arn.split(":")[1]
    arns = [f"arn:{partition}:events:{region}:{account}:rule/{name}" for name in rules]
    return list(judge.check_senders(queue, topics=topics, rules=arns))


async def fetch_rules(scene: Scene) -> tuple[str, ...]:
    """The names of EventBridge's rules that send to the queue."""
    queue = await scene.once("queue", fetch_queue)
    if queue is None:
        return ()
    client = await scene.clients.get("events")
    with translated("asking which rules send to the queue", queue.arn):
        answer = await client.list_rule_names_by_target(TargetArn=queue.arn)
    return tuple(answer.get("RuleNames", ()))
