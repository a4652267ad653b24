"""What commands print that ask AWS: recorded once on the emulated one, where some things are wrong on purpose."""

import os
import subprocess
import tempfile
from pathlib import Path

from docs.make.record import HEADNODE
from docs.make.screens import PLAIN, WIDTH
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, HookSpec, Stack, StackSpec, client, create_stack
from sandbox.configuration import local_scheduler, render_config
from schedulers.local import store

ACCOUNT = "123456789012"
_HOOK = HookSpec(name="join", transition="autoscaling:EC2_INSTANCE_LAUNCHING", heartbeat_s=60)  # shorter than a boot
COMMANDS = {
    "doctor": ("doctor", "--only", "queue", "--only", "groups", "--only", "hooks"),
    "queue-depth": ("queue", "depth"),
    "queue-dead": ("queue", "dead"),
}


def record_aws(target: Path) -> None:
    """Set a cluster up, spoil it, ask, and keep what was typed and answered as `NAME.txt`."""
    with tempfile.TemporaryDirectory() as directory, SandboxAws(account=ACCOUNT) as aws:
        stack = create_stack(aws.endpoint_url, StackSpec(name="hpc", groups=(GroupSpec(name="hpc-batch", hooks=(_HOOK,)),)))
        store.create(Path(directory, "local.db"))
        config = Path(directory, "headnode.toml")
        local = local_scheduler(Path(directory, "local.db"))
        config.write_text(render_config(stack, local, dns={"zone_id": stack.zone_id}))
        config.chmod(0o640)
        _spoil(stack)
        environment = {**os.environ, "HEADNODE_CONFIG": str(config), "COLUMNS": str(WIDTH), **PLAIN}
        environment |= {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox", "AWS_EC2_METADATA_DISABLED": "true"}
        for name, argv in COMMANDS.items():
            ran = subprocess.run([*HEADNODE, *argv], check=False, stdout=subprocess.PIPE, text=True, env=environment)
            if ran.returncode not in (0, 1):
                raise RuntimeError(f"headnode {' '.join(argv)} ended with {ran.returncode}")
            text = ran.stdout.replace(f"{stack.endpoint_url}/", f"https://sqs.{stack.region}.amazonaws.com/")
            lines = [f"$ headnode {' '.join(argv)}", *(line.rstrip() for line in text.splitlines())]
            (target / f"{name}.txt").write_text("\n".join(lines) + "\n")


def _spoil(stack: Stack) -> None:
    """A group that ends nodes of its own accord, and messages that nobody can do anything with."""
    scaling = client("autoscaling", endpoint_url=stack.endpoint_url, region=stack.region)
    scaling.update_auto_scaling_group(AutoScalingGroupName="hpc-batch", NewInstancesProtectedFromScaleIn=False)
    sqs = client("sqs", endpoint_url=stack.endpoint_url, region=stack.region)
    for body in ("ping", '{"Type": "Notification", "Message": "{\\"Event\\": \\"parallelcluster:COMPUTE_READY\\"}"}'):
        sqs.send_message(QueueUrl=stack.dead_letter_queue_url, MessageBody=body)
