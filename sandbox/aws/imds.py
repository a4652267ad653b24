"""The instance metadata service, version 2: `/imds/<instance id>/latest/...`, one for each instance that runs."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.aws.scaling import Scaling
from sandbox.aws.values import EmulatedInstance, iso
from sandbox.aws.wire import Answer

PREFIX = "/imds/"
_PATH = re.compile(r"/imds/(?P<instance>i-[0-9a-f]+)/latest/(?P<rest>.+?)/?")
_LONGEST_TTL_S = 21_600


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    instance_id: str
    until: float


class Imds:
    """Answers the metadata paths of running instances; an instance that does not run answers nothing but 404."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._tokens: dict[str, _Token] = {}

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """`headers` have lower-case names. 401 without a token of this instance, 404 for what is not there."""
        match = _PATH.fullmatch(path)
        instance = self._running(match["instance"]) if match else None
        if match is None or instance is None:
            return _plain(404, "Not Found")
        if match["rest"] == "api/token":
            return self._issue(method, instance, headers.get("x-aws-ec2-metadata-token-ttl-seconds", ""))
        token = self._tokens.get(headers.get("x-aws-ec2-metadata-token", ""))
        if token is None or token.instance_id != instance.instance_id or token.until < self._scaling.world.now:
            return _plain(401, "Unauthorized")
        if method != "GET":
            return _plain(405, "Method Not Allowed")
        text = self._documents(instance).get(match["rest"])
        return _plain(404, "Not Found") if text is None else _plain(200, text)

    def _running(self, instance_id: str) -> EmulatedInstance | None:
        try:
            instance = self._scaling.instance(instance_id)
        except KeyError:
            return None
        return instance if instance.state in ("running", "shutting-down") else None

    def _issue(self, method: str, instance: EmulatedInstance, ttl: str) -> Answer:
        if method != "PUT":
            return _plain(405, "Method Not Allowed")
        if not ttl.isdecimal() or not 1 <= int(ttl) <= _LONGEST_TTL_S:
            return _plain(400, "Bad Request")
        token = secrets.token_urlsafe(40)
        self._tokens[token] = _Token(instance_id=instance.instance_id, until=self._scaling.world.now + int(ttl))
        return _plain(200, token, ("X-aws-ec2-metadata-token-ttl-seconds", ttl))

    def _documents(self, instance: EmulatedInstance) -> dict[str, str | None]:
        region = self._scaling.world.region
        identity = {
            "accountId": self._scaling.world.account,
            "architecture": "x86_64",
            "availabilityZone": instance.zone,
            "imageId": instance.image_id,
            "instanceId": instance.instance_id,
            "instanceType": instance.instance_type,
            "pendingTime": iso(instance.launched_at),
            "privateIp": instance.address,
            "region": region,
            "version": "2017-09-30",
        }
        return {
            "meta-data/instance-id": instance.instance_id,
            "meta-data/local-ipv4": instance.address,
            "meta-data/local-hostname": instance.hostname,
            "meta-data/hostname": instance.hostname,
            "meta-data/instance-type": instance.instance_type,
            "meta-data/ami-id": instance.image_id,
            "meta-data/placement/availability-zone": instance.zone,
            "meta-data/placement/region": region,
            "meta-data/instance-life-cycle": "spot" if instance.spot else "on-demand",
            "meta-data/spot/instance-action": render_action(instance),
            "meta-data/spot/termination-time": _time(instance.interrupted_at),
            "meta-data/events/recommendations/rebalance": render_recommendation(instance),
            "meta-data/autoscaling/target-lifecycle-state": _target_state(instance),
            "dynamic/instance-identity/document": json.dumps(identity, indent=2),
        }


def render_action(instance: EmulatedInstance) -> str | None:
    """`spot/instance-action`: there only once an interruption was announced."""
    if instance.interrupted_at is None:
        return None
    return json.dumps({"action": "terminate", "time": iso(instance.interrupted_at)})


def render_recommendation(instance: EmulatedInstance) -> str | None:
    """`events/recommendations/rebalance`: there only once it was recommended."""
    return None if instance.rebalance_at is None else json.dumps({"noticeTime": iso(instance.rebalance_at)})


def _time(at: float | None) -> str | None:
    return None if at is None else iso(at)


def _target_state(instance: EmulatedInstance) -> str | None:
    """The state Auto Scaling is moving the instance to."""
    if not instance.lifecycle:
        return None
    return "Terminated" if instance.lifecycle.startswith("Terminating") else "InService"


def _plain(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status=status, body=text.encode(), headers=(("Content-Type", "text/plain"), *headers))
