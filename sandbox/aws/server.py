"""The emulated AWS: one endpoint on 127.0.0.1 for every service headnode uses."""

import threading
from collections import Counter
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Self

from sandbox.aws.agenda import Agenda, Errands
from sandbox.aws.backing import Backing
from sandbox.aws.clock import Clock, WallClock
from sandbox.aws.faults import Faults
from sandbox.aws.front import Front
from sandbox.aws.ledger import Ledger
from sandbox.aws.listener import Listener
from sandbox.aws.outbox import Outbox
from sandbox.aws.placing import PaperRuntime
from sandbox.aws.scaling import Scaling
from sandbox.aws.world import Timing, World
from sandbox.runtime import NodeRuntime


class SandboxAws:
    """A whole emulated AWS account, serving from construction of `endpoint_url` (after start) until stop.

    Its clock is the machine's, or a ManualClock that `advance` moves. moto keeps its state in the process, by account:
    one after the other may share an account, two at once may not. A stopped sandbox is not started again.
    """

    def __init__(
        self,
        *,
        region: str = "eu-west-1",
        account: str = "123456789012",
        runtime: NodeRuntime | None = None,
        timing: Timing | None = None,
        clock: Clock | None = None,
        seed: int = 0,
        port: int = 0,
        state_change_events: bool = False,
    ) -> None:
        self.region = region
        self.account = account
        self.clock: Clock = clock or WallClock()
        self._agenda = Agenda(self.clock)
        self.faults = Faults(Random(f"faults {seed}"))
        self._backing = Backing(region=region, account=account, faults=self.faults)
        self._outbox = Outbox(self._backing.publish, stepped=self._agenda.stepped)
        self._world = World(
            region=region,
            account=account,
            timing=timing or Timing(),
            agenda=self._agenda,
            errands=Errands(stepped=self._agenda.stepped),
            runtime=runtime or PaperRuntime(region),
            tell=self._outbox.put,
            random=Random(f"ids {seed}"),
            state_change_events=state_change_events,
        )
        self.scaling = Scaling(self._world)
        self._closing = threading.Event()
        self._ledger = Ledger()
        front = Front(self.scaling, self._backing, self.faults, self._ledger, self._closing)
        self._listener = Listener(front.answer, port=port)

    @property
    def endpoint_url(self) -> str:
        """For `endpoint_url` of every client."""
        return f"http://127.0.0.1:{self._listener.port}"

    def imds_url(self, instance_id: str) -> str:
        """For AWS_EC2_METADATA_SERVICE_ENDPOINT on the machine that plays this instance."""
        return f"{self.endpoint_url}/imds/{instance_id}/"

    @property
    def lost_notices(self) -> tuple[str, ...]:
        """Why notices of AWS itself could not be delivered: a topic or queue that is not there."""
        return tuple(self._outbox.failures)

    def calls_by(self, word: str) -> Counter[tuple[str, str]]:
        """How often clients whose User-Agent has that word ("headnode": the services' own) called each (service, operation)."""
        return self._ledger.calls_by(word)

    def start(self) -> Self:
        """Begin to serve and to let time pass."""
        self._outbox.start()
        self._agenda.start()
        self._listener.start()
        return self

    def stop(self) -> None:
        """End the endpoint and all open connections, and power every instance off. Repeatable."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._listener.stop()
        self._agenda.stop()
        self._outbox.stop()
        for instance in self.scaling.instances():
            if instance.state != "terminated":
                with suppress(Exception):  # one machine that will not stop must not keep the others
                    self._world.runtime.kill(instance.instance_id)

    def advance(self, seconds: float) -> None:
        """Move a ManualClock: all that falls due on the way has happened, notices included, when this returns."""
        self._agenda.advance(seconds)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
