"""Instances, instance types and zones as the EC2 API shows them."""

from sandbox.aws.catalogue import VPC_ID, InstanceType, subnet_of, zone_id
from sandbox.aws.shapes import Fields, present, utc
from sandbox.aws.values import STATE_CODES, EmulatedInstance, LaunchTemplate, ScheduledEvent


def render_state(state: str) -> Fields:
    """An InstanceState."""
    return {"Code": STATE_CODES[state], "Name": state}


def render_tags(tags: tuple[tuple[str, str], ...]) -> list[Fields]:
    """A TagList."""
    return [{"Key": key, "Value": value} for key, value in tags]


def render_instance(instance: EmulatedInstance) -> Fields:
    """An Instance. A terminated one has lost its addresses, as in AWS."""
    gone = instance.state == "terminated"
    return present(
        {
            "InstanceId": instance.instance_id,
            "ImageId": instance.image_id,
            "State": render_state(instance.state),
            "PrivateDnsName": "" if gone else instance.hostname,
            "PublicDnsName": "",
            "StateTransitionReason": instance.state_reason,
            "StateReason": _render_reason(instance),
            "AmiLaunchIndex": 0,
            "InstanceType": instance.instance_type,
            "LaunchTime": utc(instance.launched_at),
            "Placement": {"AvailabilityZone": instance.zone, "GroupName": "", "Tenancy": "default"},
            "Monitoring": {"State": "disabled"},
            "SubnetId": None if gone else subnet_of(instance.zone),
            "VpcId": None if gone else VPC_ID,
            "PrivateIpAddress": None if gone else instance.address,
            "Architecture": "x86_64",
            "InstanceLifecycle": "spot" if instance.spot else None,
            "Tags": render_tags(instance.tags),
            "EbsOptimized": False,
            "Hypervisor": "xen",
            "RootDeviceType": "ebs",
            "RootDeviceName": "/dev/xvda",
            "VirtualizationType": "hvm",
        }
    )


def _render_reason(instance: EmulatedInstance) -> Fields | None:
    if not instance.state_reason:
        return None
    code = instance.state_reason.partition(":")[0]
    if not code.startswith(("Server.", "Client.")):
        code = "Client.UserInitiatedShutdown"
    return {"Code": code, "Message": instance.state_reason}


def render_status(instance: EmulatedInstance) -> Fields:
    """An InstanceStatus: status checks and what maintenance is planned."""
    running = instance.state == "running"
    status = "not-applicable" if not running else "ok" if instance.impaired_at is None else "impaired"
    details = present(
        {
            "Name": "reachability",
            "Status": "passed" if instance.impaired_at is None else "failed",
            "ImpairedSince": None if instance.impaired_at is None else utc(instance.impaired_at),
        }
    )
    healthy = [{"Name": "reachability", "Status": "passed"}]
    return {
        "InstanceId": instance.instance_id,
        "AvailabilityZone": instance.zone,
        "AvailabilityZoneId": zone_id(instance.zone),
        "Events": [_render_event(each) for each in instance.events],
        "InstanceState": render_state(instance.state),
        "InstanceStatus": {"Status": status, "Details": [details] if running else []},
        "SystemStatus": {"Status": "ok" if running else "not-applicable", "Details": healthy if running else []},
    }


def _render_event(event: ScheduledEvent) -> Fields:
    return {
        "InstanceEventId": event.event_id,
        "Code": event.code,
        "Description": event.description,
        "NotBefore": utc(event.not_before),
        "NotAfter": utc(event.not_after),
    }


def render_type(kind: InstanceType) -> Fields:
    """An InstanceTypeInfo."""
    gpu = {
        "Name": kind.gpu_name,
        "Manufacturer": kind.gpu_maker,
        "Count": kind.gpus,
        "MemoryInfo": {"SizeInMiB": kind.gpu_memory_mib},
    }
    return present(
        {
            "InstanceType": kind.name,
            "CurrentGeneration": True,
            "SupportedUsageClasses": ["on-demand", "spot"] if kind.spot else ["on-demand"],
            "BareMetal": False,
            "ProcessorInfo": {"SupportedArchitectures": [kind.architecture]},
            "VCpuInfo": {
                "DefaultVCpus": kind.vcpus,
                "DefaultCores": kind.cores,
                "DefaultThreadsPerCore": kind.threads_per_core,
            },
            "MemoryInfo": {"SizeInMiB": kind.memory_mib},
            "GpuInfo": {"Gpus": [gpu], "TotalGpuMemoryInMiB": kind.gpus * kind.gpu_memory_mib} if kind.gpus else None,
            "NetworkInfo": {"EfaSupported": kind.efa},
        }
    )


def render_launch_template(template: LaunchTemplate) -> Fields:
    """A LaunchTemplate."""
    return {
        "LaunchTemplateId": template.template_id,
        "LaunchTemplateName": template.name,
        "CreateTime": utc(template.created_at),
        "DefaultVersionNumber": 1,
        "LatestVersionNumber": 1,
    }


def render_template_version(template: LaunchTemplate) -> Fields:
    """A LaunchTemplateVersion."""
    data = present(
        {
            "ImageId": template.image_id,
            "InstanceType": template.instance_type,
            "InstanceMarketOptions": {"MarketType": "spot"} if template.spot else None,
            "TagSpecifications": [{"ResourceType": "instance", "Tags": render_tags(template.tags)}] if template.tags else None,
        }
    )
    return {
        "LaunchTemplateId": template.template_id,
        "LaunchTemplateName": template.name,
        "VersionNumber": 1,
        "CreateTime": utc(template.created_at),
        "DefaultVersion": True,
        "LaunchTemplateData": data,
    }


def render_zone(zone: str, region: str) -> Fields:
    """An AvailabilityZone."""
    return {
        "ZoneName": zone,
        "ZoneId": zone_id(zone),
        "RegionName": region,
        "State": "available",
        "Messages": [],
        "OptInStatus": "opt-in-not-required",
        "ZoneType": "availability-zone",
    }


def render_subnet(zone: str, number: int, *, account: str) -> Fields:
    """A Subnet."""
    return {
        "SubnetId": subnet_of(zone),
        "AvailabilityZone": zone,
        "AvailabilityZoneId": zone_id(zone),
        "VpcId": VPC_ID,
        "State": "available",
        "CidrBlock": f"10.0.{number * 64}.0/18",
        "AvailableIpAddressCount": 16379,
        "OwnerId": account,
    }
