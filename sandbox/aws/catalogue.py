"""The region's zones, subnets and the small catalogue of instance types that the emulation sells."""

import hashlib
from dataclasses import dataclass

REGIONS = ("eu-central-1", "eu-west-1", "eu-west-2", "us-east-1", "us-east-2", "us-west-2")
VPC_ID = "vpc-0c5b2a1f3e4d60718"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """What DescribeInstanceTypes says; memory in MiB, as AWS gives it."""

    name: str
    vcpus: int
    memory_mib: int
    threads_per_core: int = 2
    gpus: int = 0
    gpu_name: str = ""
    gpu_maker: str = ""
    gpu_memory_mib: int = 0
    architecture: str = "x86_64"
    spot: bool = True
    efa: bool = False

    @property
    def cores(self) -> int:
        """Physical cores by default."""
        return self.vcpus // self.threads_per_core


_TYPES = (
    InstanceType(name="t3.micro", vcpus=2, memory_mib=1024),
    InstanceType(name="c5.large", vcpus=2, memory_mib=4096),
    InstanceType(name="c5.xlarge", vcpus=4, memory_mib=8192),
    InstanceType(name="c5.2xlarge", vcpus=8, memory_mib=16384),
    InstanceType(name="c5.4xlarge", vcpus=16, memory_mib=32768),
    InstanceType(name="c5.18xlarge", vcpus=72, memory_mib=147456),
    InstanceType(name="c6i.xlarge", vcpus=4, memory_mib=8192),
    InstanceType(name="c7g.xlarge", vcpus=4, memory_mib=8192, threads_per_core=1, architecture="arm64"),
    InstanceType(name="m5.xlarge", vcpus=4, memory_mib=16384),
    InstanceType(name="m5.4xlarge", vcpus=16, memory_mib=65536),
    InstanceType(name="r5.2xlarge", vcpus=8, memory_mib=65536),
    InstanceType(
        name="g4dn.xlarge",
        vcpus=4,
        memory_mib=16384,
        gpus=1,
        gpu_name="T4",
        gpu_maker="NVIDIA",
        gpu_memory_mib=16384,
    ),
    InstanceType(
        name="g4dn.12xlarge",
        vcpus=48,
        memory_mib=196608,
        gpus=4,
        gpu_name="T4",
        gpu_maker="NVIDIA",
        gpu_memory_mib=16384,
        efa=True,
    ),
    InstanceType(
        name="p4d.24xlarge",
        vcpus=96,
        memory_mib=1179648,
        gpus=8,
        gpu_name="A100",
        gpu_maker="NVIDIA",
        gpu_memory_mib=40960,
        efa=True,
    ),
    InstanceType(name="hpc6a.48xlarge", vcpus=96, memory_mib=393216, threads_per_core=1, spot=False, efa=True),
    InstanceType(name="hpc7a.96xlarge", vcpus=192, memory_mib=786432, threads_per_core=1, spot=False, efa=True),
)
INSTANCE_TYPES = {each.name: each for each in _TYPES}


def zones_of(region: str) -> tuple[str, ...]:
    """The three zones every emulated region has."""
    return tuple(f"{region}{letter}" for letter in "abc")


def zone_id(zone: str) -> str:
    """`eu-west-1a` → `euw1-az1`: AWS's account-independent name, from the zone's own (accounts are not shuffled here)."""
    area, *directions, number = zone[:-1].split("-")
    return f"{area}{''.join(word[0] for word in directions)}{number}-az{ord(zone[-1]) - ord('a') + 1}"


def subnet_of(zone: str) -> str:
    """The one subnet of a zone; the same zone always has the same."""
    return f"subnet-{hashlib.sha256(zone.encode()).hexdigest()[:17]}"
