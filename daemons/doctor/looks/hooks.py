"""The groups' lifecycle hooks, and whether we hear of them."""

from collections.abc import Sequence

from daemons.doctor.findings import Finding
from daemons.doctor.judges.groups import check_hooks
from daemons.doctor.looks.groups import Groups, fetch_groups
from daemons.doctor.looks.queue import fetch_queue
from daemons.doctor.looks.topics import fetch_topics
from daemons.doctor.scene import Scene


async def look_at_hooks(scene: Scene) -> Sequence[Finding]:
    groups: Groups = await scene.once("groups", fetch_groups)
    queue = await scene.once("queue", fetch_queue)
    if queue is None or not any(group.hooks for group in groups.values()):
        return ()
    topics = await scene.once("topic facts", fetch_topics)
    subscribed = {topic.arn for topic in topics if any(one.endpoint == queue.arn for one in topic.subscriptions)}
    return [
        finding
        for fleet in scene.config.fleets
        if fleet.group in groups
        for finding in check_hooks(
            fleet,
            groups[fleet.group],
            heard=frozenset(subscribed if scene.config.sqswatcher.verify_sns else {queue.arn, *subscribed}),
            grace_s=scene.config.sqswatcher.terminate_grace_s,
        )
    ]
