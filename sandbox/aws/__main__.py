"""`python -m sandbox.aws --port N`: the emulated AWS by itself, until SIGTERM or SIGINT."""

import argparse
import json
import signal
import sys
import threading

from sandbox.aws.server import SandboxAws
from sandbox.aws.world import Timing


def main(argv: list[str] | None = None) -> int:
    """Serve; one JSON line on standard output says where, once it answers."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.aws", description="An emulated AWS account on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    parser.add_argument("--region", default="eu-west-1")
    parser.add_argument("--account", default="123456789012")
    parser.add_argument("--boot-s", type=float, default=1.0, help="seconds an instance takes from pending to running")
    parser.add_argument("--seed", type=int, default=0, help="of instance ids and faults")
    args = parser.parse_args(argv)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    timing = Timing(boot_s=args.boot_s)
    with SandboxAws(region=args.region, account=args.account, timing=timing, seed=args.seed, port=args.port) as aws:
        where = {"endpoint_url": aws.endpoint_url, "region": aws.region, "account": aws.account}
        sys.stdout.write(json.dumps(where) + "\n")
        sys.stdout.flush()
        done.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
