"""The Auto Scaling API: notifications and lifecycle hooks."""

from dataclasses import replace

from sandbox.aws.errors import AwsError, validation_error
from sandbox.aws.notices import render_test_notice
from sandbox.aws.paging import limit, page
from sandbox.aws.scaling import Scaling
from sandbox.aws.shapes import Fields, Handler, render_hook
from sandbox.aws.values import LAUNCHING, NOTIFICATION_TYPES, TERMINATING, EmulatedGroup, Hook, HookWait

_MOST_TOPICS = 10
_MOST_HOOKS = 50
_MEMBERS = {
    "LifecycleTransition": "transition",
    "HeartbeatTimeout": "heartbeat_s",
    "DefaultResult": "default_result",
    "NotificationTargetARN": "target_arn",
    "RoleARN": "role_arn",
    "NotificationMetadata": "metadata",
}


def parse_hook(params: Fields, *, earlier: Hook | None = None) -> Hook:
    """A hook out of a Put call or a group's specification list; what is not given stays as `earlier` has it.

    Raises AwsError for values outside AWS's bounds.
    """
    changes = {field: params[member] for member, field in _MEMBERS.items() if member in params}
    if earlier is None and "transition" not in changes:
        raise validation_error("LifecycleTransition is a required parameter for a new lifecycle hook.")
    hook = replace(earlier, **changes) if earlier else Hook(name=params["LifecycleHookName"], **changes)
    if hook.transition not in (LAUNCHING, TERMINATING):
        raise validation_error(f"Unsupported lifecycle transition: {hook.transition}")
    if not 30 <= hook.heartbeat_s <= 7200:
        raise validation_error("Heartbeat timeout must be between 30 and 7200 seconds.")
    if hook.default_result not in ("CONTINUE", "ABANDON"):
        raise validation_error("DefaultResult must be either CONTINUE or ABANDON.")
    if hook.target_arn and not hook.target_arn.startswith(("arn:aws:sns:", "arn:aws:sqs:")):
        raise validation_error(f"Invalid notification target ARN: {hook.target_arn}")
    return hook


class HookActions:
    """Handlers by action name, as in GroupActions."""

    def __init__(self, scaling: Scaling) -> None:
        self._world = scaling.world
        self._lifecycle = scaling.capacity.lifecycle

    def handlers(self) -> dict[str, Handler]:
        """What this class answers."""
        return {
            "PutNotificationConfiguration": self.put_notification,
            "DescribeNotificationConfigurations": self.describe_notifications,
            "DeleteNotificationConfiguration": self.delete_notification,
            "DescribeAutoScalingNotificationTypes": self.describe_notification_types,
            "PutLifecycleHook": self.put_hook,
            "DescribeLifecycleHooks": self.describe_hooks,
            "DeleteLifecycleHook": self.delete_hook,
            "DescribeLifecycleHookTypes": self.describe_hook_types,
            "CompleteLifecycleAction": self.complete,
            "RecordLifecycleActionHeartbeat": self.heartbeat,
        }

    def put_notification(self, params: Fields) -> Fields:
        group, topic = self._world.group(params["AutoScalingGroupName"]), params["TopicARN"]
        kinds = frozenset(params["NotificationTypes"])
        if unknown := kinds - set(NOTIFICATION_TYPES):
            raise validation_error(f"{min(unknown)} is not a valid notification type")
        if not topic.startswith("arn:aws:sns:"):
            raise validation_error(f"Invalid topic ARN: {topic}")
        if topic not in group.notifications and len(group.notifications) >= _MOST_TOPICS:
            raise AwsError("LimitExceeded", f"At most {_MOST_TOPICS} SNS topics per Auto Scaling group.")
        group = self._world.change_group(group.name, notifications={**group.notifications, topic: kinds})
        self._test(topic, group)
        return {}

    def _test(self, arn: str, group: EmulatedGroup) -> None:
        request_id = self._world.new_id()
        now = self._world.now
        self._world.tell(render_test_notice(arn, group, account=self._world.account, request_id=request_id, at=now))

    def describe_notifications(self, params: Fields) -> Fields:
        names = params.get("AutoScalingGroupNames")
        every = [
            {"AutoScalingGroupName": group.name, "TopicARN": topic, "NotificationType": kind}
            for group in self._world.groups.values()
            if not names or group.name in names
            for topic, kinds in group.notifications.items()
            for kind in sorted(kinds)
        ]
        most = limit(params, default=50, most=100)
        shown, token = page(every, operation="notifications", token=params.get("NextToken"), limit=most)
        return {"NotificationConfigurations": list(shown), "NextToken": token}

    def delete_notification(self, params: Fields) -> Fields:
        group = self._world.group(params["AutoScalingGroupName"])
        kept = {topic: kinds for topic, kinds in group.notifications.items() if topic != params["TopicARN"]}
        self._world.change_group(group.name, notifications=kept)
        return {}

    def describe_notification_types(self, _params: Fields) -> Fields:
        return {"AutoScalingNotificationTypes": list(NOTIFICATION_TYPES)}

    def put_hook(self, params: Fields) -> Fields:
        group, name = self._world.group(params["AutoScalingGroupName"]), params["LifecycleHookName"]
        earlier = next((each for each in group.hooks if each.name == name), None)
        hook = parse_hook(params, earlier=earlier)
        others = tuple(each for each in group.hooks if each.name != name)
        if len(others) >= _MOST_HOOKS:
            raise AwsError("LimitExceeded", f"At most {_MOST_HOOKS} lifecycle hooks per Auto Scaling group.")
        group = self._world.change_group(group.name, hooks=(*others, hook))
        if hook.target_arn:
            self._test(hook.target_arn, group)
        return {}

    def describe_hooks(self, params: Fields) -> Fields:
        group, names = self._world.group(params["AutoScalingGroupName"]), params.get("LifecycleHookNames")
        return {"LifecycleHooks": [render_hook(group.name, each) for each in group.hooks if not names or each.name in names]}

    def delete_hook(self, params: Fields) -> Fields:
        group, name = self._world.group(params["AutoScalingGroupName"]), params["LifecycleHookName"]
        if all(each.name != name for each in group.hooks):
            raise validation_error(f"No Lifecycle Hook found with name {name}")
        self._world.change_group(group.name, hooks=tuple(each for each in group.hooks if each.name != name))
        for wait in [each for each in self._world.waits.values() if (each.group, each.hook.name) == (group.name, name)]:
            # AWS: deleting a hook abandons its outstanding launches and lets its terminations go on
            self._lifecycle.complete(wait, "ABANDON" if wait.hook.transition == LAUNCHING else "CONTINUE")
        return {}

    def describe_hook_types(self, _params: Fields) -> Fields:
        return {"LifecycleHookTypes": [LAUNCHING, TERMINATING]}

    def complete(self, params: Fields) -> Fields:
        result = params["LifecycleActionResult"]
        if result not in ("CONTINUE", "ABANDON"):
            raise validation_error("LifecycleActionResult must be either CONTINUE or ABANDON.")
        self._lifecycle.complete(self._waiting(params), result)
        return {}

    def heartbeat(self, params: Fields) -> Fields:
        self._lifecycle.heartbeat(self._waiting(params))
        return {}

    def _waiting(self, params: Fields) -> HookWait:
        token, instance_id = params.get("LifecycleActionToken"), params.get("InstanceId")
        if token is None and instance_id is None:
            raise validation_error("Either LifecycleActionToken or InstanceId must be specified.")
        group, hook = params["AutoScalingGroupName"], params["LifecycleHookName"]
        return self._lifecycle.waiting(group, hook, token=token, instance_id=instance_id)
