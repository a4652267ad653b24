"""Groups, instances and activities as the Auto Scaling API shows them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sandbox.aws.catalogue import zone_id
from sandbox.aws.values import (
    Activity,
    EmulatedGroup,
    EmulatedInstance,
    Hook,
    LaunchConfiguration,
    LaunchSource,
    Tag,
)

Fields = dict[str, Any]
Handler = Callable[[Fields], Fields]  # one API action


def utc(at: float) -> datetime:
    """Unix seconds as botocore's timestamps."""
    return datetime.fromtimestamp(at, UTC)


def present(fields: Fields) -> Fields:
    """Only what has a value: AWS leaves members out rather than empty."""
    return {name: value for name, value in fields.items() if value is not None}


def render_template(source: LaunchSource) -> Fields | None:
    """The launch template a group or instance came from."""
    if source.template_id is None:
        return None
    return {
        "LaunchTemplateId": source.template_id,
        "LaunchTemplateName": source.template_name,
        "Version": source.template_version,
    }


def _render_mixed(source: LaunchSource) -> Fields | None:
    if not source.mixed:
        return None
    overrides = [{"InstanceType": each} for each in source.instance_types]
    distribution = {
        "OnDemandBaseCapacity": 0,
        "OnDemandPercentageAboveBaseCapacity": 0 if source.spot else 100,
        "SpotAllocationStrategy": "lowest-price",
    }
    template = {"LaunchTemplateSpecification": render_template(source), "Overrides": overrides}
    return {"LaunchTemplate": template, "InstancesDistribution": distribution}


def render_group(group: EmulatedGroup, instances: list[EmulatedInstance] | None) -> Fields:
    """An AutoScalingGroup; None for instances leaves them out."""
    return present(
        {
            "AutoScalingGroupName": group.name,
            "AutoScalingGroupARN": group.arn,
            "LaunchConfigurationName": group.source.configuration,
            "LaunchTemplate": None if group.source.mixed else render_template(group.source),
            "MixedInstancesPolicy": _render_mixed(group.source),
            "MinSize": group.minimum,
            "MaxSize": group.maximum,
            "DesiredCapacity": group.desired,
            "DefaultCooldown": group.cooldown_s,
            "AvailabilityZones": list(group.zones),
            "LoadBalancerNames": [],
            "TargetGroupARNs": [],
            "HealthCheckType": group.health_check_type,
            "HealthCheckGracePeriod": group.grace_s,
            "Instances": None if instances is None else [render_member(each) for each in instances],
            "CreatedTime": utc(group.created_at),
            "SuspendedProcesses": [_render_suspended(each) for each in sorted(group.suspended)],
            "VPCZoneIdentifier": group.vpc_zone_identifier,
            "EnabledMetrics": [],
            "Status": "Delete in progress" if group.deleting else None,
            "Tags": [render_tag(group.name, each) for each in group.tags],
            "TerminationPolicies": list(group.termination_policies),
            "NewInstancesProtectedFromScaleIn": group.protect_new,
            "CapacityRebalance": group.capacity_rebalance,
            "TrafficSources": [],
        }
    )


def _render_suspended(process: str) -> Fields:
    return {"ProcessName": process, "SuspensionReason": "User suspended"}


def render_tag(group: str, tag: Tag) -> Fields:
    """A TagDescription."""
    return {
        "ResourceId": group,
        "ResourceType": "auto-scaling-group",
        "Key": tag.key,
        "Value": tag.value,
        "PropagateAtLaunch": tag.propagate,
    }


def render_member(instance: EmulatedInstance) -> Fields:
    """An Instance inside its group."""
    return present(
        {
            "InstanceId": instance.instance_id,
            "InstanceType": instance.instance_type,
            "AvailabilityZone": instance.zone,
            "AvailabilityZoneId": zone_id(instance.zone),
            "LifecycleState": instance.lifecycle,
            "HealthStatus": instance.health,
            "LaunchConfigurationName": instance.source.configuration,
            "LaunchTemplate": render_template(instance.source),
            "ProtectedFromScaleIn": instance.protected,
        }
    )


def render_details(instance: EmulatedInstance) -> Fields:
    """An AutoScalingInstanceDetails, whose health is written in capitals."""
    return render_member(instance) | {
        "AutoScalingGroupName": instance.group,
        "HealthStatus": instance.health.upper(),
    }


def render_activity(activity: Activity) -> Fields:
    """An Activity."""
    return present(
        {
            "ActivityId": activity.activity_id,
            "AutoScalingGroupName": activity.group,
            "Description": activity.description,
            "Cause": activity.cause,
            "StartTime": utc(activity.started_at),
            "EndTime": None if activity.ended_at is None else utc(activity.ended_at),
            "StatusCode": activity.status,
            "StatusMessage": activity.status_message or None,
            "Progress": activity.progress,
            "Details": f'{{"Subnet ID":"{activity.subnet}","Availability Zone":"{activity.zone}"}}',
            "AutoScalingGroupState": "Deleted" if activity.group_deleted else None,
            "AutoScalingGroupARN": activity.group_arn,
        }
    )


def render_hook(group: str, hook: Hook) -> Fields:
    """A LifecycleHook."""
    return present(
        {
            "LifecycleHookName": hook.name,
            "AutoScalingGroupName": group,
            "LifecycleTransition": hook.transition,
            "NotificationTargetARN": hook.target_arn,
            "RoleARN": hook.role_arn,
            "NotificationMetadata": hook.metadata,
            "HeartbeatTimeout": hook.heartbeat_s,
            "GlobalTimeout": hook.overall_s,
            "DefaultResult": hook.default_result,
        }
    )


def render_configuration(configuration: LaunchConfiguration) -> Fields:
    """A LaunchConfiguration."""
    return present(
        {
            "LaunchConfigurationName": configuration.name,
            "LaunchConfigurationARN": configuration.arn,
            "ImageId": configuration.image_id,
            "InstanceType": configuration.instance_type,
            "KeyName": "",
            "SecurityGroups": [],
            "UserData": "",
            "SpotPrice": configuration.spot_price,
            "CreatedTime": utc(configuration.created_at),
        }
    )
