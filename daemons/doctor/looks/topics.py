"""The topics that groups and hooks notify, and EventBridge's rules."""

from collections.abc import Sequence
from typing import Any

from daemons.aws.session import translated
from daemons.doctor.findings import Finding
from daemons.doctor.judges import topics as judge
from daemons.doctor.judges.policy import parse_policy
from daemons.doctor.looks.absence import is_absent
from daemons.doctor.looks.groups import fetch_topic_arns
from daemons.doctor.looks.queue import fetch_queue, fetch_rules
from daemons.doctor.scene import Scene
from daemons.errors import AwsRefused, InvalidValue
from daemons.model import Purchase


async def fetch_topics(scene: Scene) -> tuple[judge.TopicFacts, ...]:
    return tuple([await _topic(scene, arn) for arn in await scene.once("topics", fetch_topic_arns)])


async def _topic(scene: Scene, arn: str) -> judge.TopicFacts:
    client = await scene.clients.get("sns")
    try:
        with translated("looking at the topic", arn):
            attributes = (await client.get_topic_attributes(TopicArn=arn))["Attributes"]
    except AwsRefused as err:
        if not is_absent(err.error_code):
            raise
        return judge.TopicFacts(arn=arn, exists=False)
    try:
        policy = parse_policy(attributes.get("Policy", ""))
    except ValueError as err:
        raise InvalidValue(f"the policy of {arn} cannot be read: {err}") from err
    return judge.TopicFacts(
        arn=arn, policy=policy, subscriptions=tuple([await _one(client, one) for one in await _listed(client, arn)])
    )


async def _listed(client: Any, arn: str) -> list[Any]:
    found, request = [], {"TopicArn": arn}
    while True:
        with translated("listing the topic's subscriptions", arn):
            page = await client.list_subscriptions_by_topic(**request)
        found += page.get("Subscriptions", [])
        if not page.get("NextToken"):
            return found
        request["NextToken"] = page["NextToken"]


async def _one(client: Any, listed: Any) -> judge.Subscription:
    """With its filter, which an unconfirmed one does not have."""
    arn, more = listed["SubscriptionArn"], {}
    if arn.startswith("arn:"):
        with translated("looking at a subscription", arn):
            more = (await client.get_subscription_attributes(SubscriptionArn=arn))["Attributes"]
    return judge.Subscription(
        arn=arn,
        protocol=listed["Protocol"],
        endpoint=listed["Endpoint"],
        filter="" if more.get("FilterPolicy") in (None, "", "{}") else more["FilterPolicy"],
        raw=more.get("RawMessageDelivery") == "true",
    )


async def look_at_topics(scene: Scene) -> Sequence[Finding]:
    queue = await scene.once("queue", fetch_queue)
    if queue is None:
        return ()
    topics = await scene.once("topic facts", fetch_topics)
    verify, named = scene.config.sqswatcher.verify_sns, scene.config.sqswatcher.topics
    return [finding for topic in topics for finding in judge.check_topic(topic, queue.arn, verify=verify, named=named)]


async def look_at_rules(scene: Scene) -> Sequence[Finding]:
    has_spot = any(fleet.purchase is Purchase.SPOT for fleet in scene.config.fleets)
    return [judge.check_rules(await scene.once("rules", fetch_rules), has_spot=has_spot)]
