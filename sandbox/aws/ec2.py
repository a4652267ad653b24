"""The EC2 API, as far as it is about the instances of groups: describing, ending, launch templates and the catalogue."""

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from sandbox.aws.catalogue import INSTANCE_TYPES, REGIONS, subnet_of, zones_of
from sandbox.aws.ec2shapes import (
    render_instance,
    render_launch_template,
    render_state,
    render_status,
    render_subnet,
    render_template_version,
    render_type,
    render_zone,
)
from sandbox.aws.errors import AwsError
from sandbox.aws.paging import page
from sandbox.aws.scaling import Scaling
from sandbox.aws.shapes import Fields, Handler, utc
from sandbox.aws.sources import find_template
from sandbox.aws.values import EmulatedInstance, LaunchTemplate

_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_MOST_RESULTS = 1000
_FEWEST_RESULTS = 5

Reader = Callable[[EmulatedInstance], Iterable[str]]
_INSTANCE_FILTERS: dict[str, Reader] = {
    "instance-id": lambda each: [each.instance_id],
    "private-ip-address": lambda each: [] if each.state == "terminated" else [each.address],
    "private-dns-name": lambda each: [] if each.state == "terminated" else [each.hostname],
    "instance-state-name": lambda each: [each.state],
    "instance-type": lambda each: [each.instance_type],
    "instance-lifecycle": lambda each: ["spot"] if each.spot else [],
    "availability-zone": lambda each: [each.zone],
    "image-id": lambda each: [each.image_id],
    "subnet-id": lambda each: [subnet_of(each.zone)],
    "tag-key": lambda each: [key for key, _ in each.tags],
}
_STATUS_FILTERS: dict[str, Reader] = {
    "availability-zone": lambda each: [each.zone],
    "instance-state-name": lambda each: [each.state],
    "event.code": lambda each: [event.code for event in each.events],
    "instance-status.status": lambda each: [render_status(each)["InstanceStatus"]["Status"]],
    "system-status.status": lambda each: [render_status(each)["SystemStatus"]["Status"]],
}


def select(instances: Iterable[EmulatedInstance], filters: Iterable[Fields], known: dict[str, Reader]) -> list[EmulatedInstance]:
    """Those that pass every filter; values may hold `*` and `?`. Raises AwsError for a filter EC2 does not know."""
    chosen = list(instances)
    for one in filters:
        name, values = one.get("Name", ""), one.get("Values", ())
        reader = known.get(name)
        if name.startswith("tag:"):
            reader = _tag_reader(name.removeprefix("tag:"))
        if reader is None:
            raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
        chosen = [each for each in chosen if any(fnmatchcase(had, asked) for had in reader(each) for asked in values)]
    return chosen


def _tag_reader(key: str) -> Reader:
    return lambda each: [value for name, value in each.tags if name == key]


class Ec2Actions:
    """Handlers by action name; each runs under the lock and raises AwsError for what AWS would refuse."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._world = scaling.world

    def handlers(self) -> dict[str, Handler]:
        """What this class answers."""
        return {
            "DescribeInstances": self.describe_instances,
            "DescribeInstanceStatus": self.describe_status,
            "TerminateInstances": self.terminate_instances,
            "GetConsoleOutput": self.get_console,
            "DescribeInstanceTypes": self.describe_types,
            "DescribeAvailabilityZones": self.describe_zones,
            "DescribeRegions": self.describe_regions,
            "DescribeSubnets": self.describe_subnets,
            "CreateTags": self.create_tags,
            "CreateLaunchTemplate": self.create_template,
            "DescribeLaunchTemplates": self.describe_templates,
            "DescribeLaunchTemplateVersions": self.describe_template_versions,
        }

    def _named(self, ids: Iterable[str]) -> list[EmulatedInstance]:
        wanted = list(dict.fromkeys(ids))
        for instance_id in wanted:
            if not _INSTANCE_ID.fullmatch(instance_id):
                raise AwsError("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
        missing = [each for each in wanted if each not in self._world.instances]
        if missing:
            does = "ID" if len(missing) == 1 else "IDs"
            verb = "does" if len(missing) == 1 else "do"
            text = f"The instance {does} '{', '.join(missing)}' {verb} not exist"
            raise AwsError("InvalidInstanceID.NotFound", text)
        return [self._world.instances[each] for each in wanted]

    def _paged(self, params: Fields, operation: str, chosen: list[EmulatedInstance]) -> tuple[list[EmulatedInstance], str | None]:
        most = params.get("MaxResults")
        if most is not None and params.get("InstanceIds"):
            text = "The parameter instancesSet cannot be used with the parameter maxResults"
            raise AwsError("InvalidParameterCombination", text)
        if most is not None and not _FEWEST_RESULTS <= most <= _MOST_RESULTS:
            text = f"Value ( {most} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."
            raise AwsError("InvalidParameterValue", text)
        limit = len(chosen) if params.get("InstanceIds") else most or _MOST_RESULTS
        code = "InvalidNextToken"
        shown, token = page(chosen, operation=operation, token=params.get("NextToken"), limit=max(limit, 1), error_code=code)
        return list(shown), token

    def describe_instances(self, params: Fields) -> Fields:
        ids = params.get("InstanceIds")
        found = self._named(ids) if ids else self._world.instances.values()
        chosen = select(found, params.get("Filters", ()), _INSTANCE_FILTERS)
        shown, token = self._paged(params, "describe-instances", chosen)
        reservations = [
            {
                "ReservationId": each.instance_id.replace("i-", "r-"),
                "OwnerId": self._world.account,
                "RequesterId": "940372691376",
                "Groups": [],
                "Instances": [render_instance(each)],
            }
            for each in shown
        ]
        return {"Reservations": reservations, "NextToken": token}

    def describe_status(self, params: Fields) -> Fields:
        ids = params.get("InstanceIds")
        found = self._named(ids) if ids else list(self._world.instances.values())
        if not params.get("IncludeAllInstances", False):
            found = [each for each in found if each.state == "running"]
        chosen = select(found, params.get("Filters", ()), _STATUS_FILTERS)
        shown, token = self._paged(params, "describe-status", chosen)
        return {"InstanceStatuses": [render_status(each) for each in shown], "NextToken": token}

    def terminate_instances(self, params: Fields) -> Fields:
        changes = []
        for before in self._named(params["InstanceIds"]):
            self._scaling.terminate(before.instance_id, reason=f"User initiated ({utc(self._world.now):%F %T} GMT)")
            after = self._world.instances[before.instance_id]
            states = {"PreviousState": render_state(before.state), "CurrentState": render_state(after.state)}
            changes.append({"InstanceId": before.instance_id, **states})
        return {"TerminatingInstances": changes}

    def get_console(self, params: Fields) -> Fields:
        (instance,) = self._named([params["InstanceId"]])
        output = base64.b64encode(instance.console.encode()).decode()
        return {"InstanceId": instance.instance_id, "Timestamp": utc(self._world.now), "Output": output}

    def describe_types(self, params: Fields) -> Fields:
        wanted = params.get("InstanceTypes") or list(INSTANCE_TYPES)
        if unknown := [each for each in wanted if each not in INSTANCE_TYPES]:
            text = f"The following supplied instance types do not exist: [{', '.join(unknown)}]"
            raise AwsError("InvalidInstanceType", text)
        for one in params.get("Filters", ()):
            if one.get("Name") != "instance-type":
                raise AwsError("InvalidParameterValue", f"The filter '{one.get('Name')}' is invalid")
            wanted = [each for each in wanted if any(fnmatchcase(each, asked) for asked in one.get("Values", ()))]
        limit = params.get("MaxResults", 100)
        shown, token = page(wanted, operation="describe-types", token=params.get("NextToken"), limit=limit)
        return {"InstanceTypes": [render_type(INSTANCE_TYPES[each]) for each in shown], "NextToken": token}

    def describe_zones(self, params: Fields) -> Fields:
        wanted = params.get("ZoneNames") or zones_of(self._world.region)
        known = zones_of(self._world.region)
        if unknown := [each for each in wanted if each not in known]:
            raise AwsError("InvalidParameterValue", f"Invalid availability zone: [{', '.join(unknown)}]")
        return {"AvailabilityZones": [render_zone(each, self._world.region) for each in wanted]}

    def describe_regions(self, params: Fields) -> Fields:
        wanted = params.get("RegionNames") or dict.fromkeys((*REGIONS, self._world.region))
        regions = [
            {"RegionName": each, "Endpoint": f"ec2.{each}.amazonaws.com", "OptInStatus": "opt-in-not-required"} for each in wanted
        ]
        return {"Regions": regions}

    def describe_subnets(self, params: Fields) -> Fields:
        zones, wanted = zones_of(self._world.region), params.get("SubnetIds")
        subnets = [render_subnet(zone, number, account=self._world.account) for number, zone in enumerate(zones)]
        if unknown := set(wanted or ()) - {each["SubnetId"] for each in subnets}:
            raise AwsError("InvalidSubnetID.NotFound", f"The subnet ID '{min(unknown)}' does not exist")
        return {"Subnets": [each for each in subnets if not wanted or each["SubnetId"] in wanted]}

    def create_tags(self, params: Fields) -> Fields:
        for instance in self._named(params["Resources"]):
            tags = dict(instance.tags) | {each["Key"]: each.get("Value", "") for each in params["Tags"]}
            self._world.change(instance.instance_id, tags=tuple(tags.items()))
        return {}

    def create_template(self, params: Fields) -> Fields:
        name, data = params["LaunchTemplateName"], params["LaunchTemplateData"]
        if find_template(self._world, {"LaunchTemplateName": name}):
            text = "Launch template name already in use."
            raise AwsError("InvalidLaunchTemplateName.AlreadyExistsException", text)
        kind = data.get("InstanceType")
        if kind is not None and kind not in INSTANCE_TYPES:
            raise AwsError("InvalidParameterValue", f"Invalid instance type: {kind}")
        tags = [tag for one in data.get("TagSpecifications", ()) for tag in one.get("Tags", ())]
        template = LaunchTemplate(
            template_id=self._world.new_resource_id("lt"),
            name=name,
            created_at=self._world.now,
            instance_type=kind,
            spot=data.get("InstanceMarketOptions", {}).get("MarketType") == "spot",
            tags=tuple((each["Key"], each.get("Value", "")) for each in tags),
        )
        if "ImageId" in data:
            template = replace(template, image_id=data["ImageId"])
        self._world.templates[template.template_id] = template
        return {"LaunchTemplate": render_launch_template(template)}

    def describe_templates(self, params: Fields) -> Fields:
        ids, names = params.get("LaunchTemplateIds"), params.get("LaunchTemplateNames")
        every = self._world.templates.values()
        chosen = [each for each in every if (not ids or each.template_id in ids) and (not names or each.name in names)]
        if len(chosen) < len(ids or names or ()):
            raise _no_template(f"{ids or names}")
        return {"LaunchTemplates": [render_launch_template(each) for each in chosen]}

    def describe_template_versions(self, params: Fields) -> Fields:
        template = find_template(self._world, params)
        if template is None:
            raise _no_template(str(params.get("LaunchTemplateId") or params.get("LaunchTemplateName")))
        versions = params.get("Versions") or ["1"]
        found = any(each in ("1", "$Latest", "$Default") for each in versions)
        return {"LaunchTemplateVersions": [render_template_version(template)] if found else []}


def _no_template(named: str) -> AwsError:
    text = f"The specified launch template, {named}, does not exist."
    return AwsError("InvalidLaunchTemplateName.NotFoundException", text)
