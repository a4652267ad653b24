"""What the screens show: a demo's own record of its decisions, kept in docs/recorded."""

import subprocess
import sys
import tempfile
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "recorded"
STATE = "/var/lib/headnode"  # where a cluster keeps its state; the demo's directory is named so in what is kept
HEADNODE = (sys.executable, "-c", "from daemons.cli import main; main()")
_SCHEDULER = "slurm"


def record(target: Path) -> None:
    """Run the demo with a real Slurm and keep what it printed and recorded. Takes half a minute."""
    with tempfile.TemporaryDirectory() as directory:
        argv = [*HEADNODE, "demo", "--scheduler", _SCHEDULER, "--keep", directory]
        printed = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
        kept = Path(directory)
        private = _private_directory((kept / "headnode.toml").read_text())
        texts = {"demo.txt": printed, "headnode.toml": (kept / "headnode.toml").read_text()}
        for name in ("jobwatcher", "nodewatcher"):
            texts[f"{name}/decisions.jsonl"] = (kept / name / "decisions.jsonl").read_text()
    for name, text in texts.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(private, STATE))


def _private_directory(config: str) -> str:
    line = next(line for line in config.splitlines() if line.startswith("state_dir"))
    return line.partition('"')[2].rpartition("/")[0]
