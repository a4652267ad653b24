"""Thousands of hostile bodies among valid messages: the service neither falls over nor lets them hold anybody up."""

import asyncio
import random
from pathlib import Path

from daemons.model import State
from tests.fakes import FakeGroups, hostname
from tests.sqswatcher.cluster import Cluster, compute_ready, hook, notification, spot_interruption

HOSTILE = 10_000
CORPUS = sorted(path for path in (Path(__file__).parent / "corpus").rglob("*") if path.is_file())


def _mangled(body: str, chance: random.Random) -> str:
    """A message as a broken or hostile sender might send it: cut, stirred, repeated, or with something slipped in."""
    place, end = sorted(chance.sample(range(len(body)), 2))
    slipped = chance.choice(
        ["\n", "\0", "; rm -rf /", "$(id)", "--help", "../../etc/passwd", '"', "\\", "{" * 50, "\ud800", "é", "9" * 400]
    )
    match chance.randrange(5):
        case 0:
            return body[:place]
        case 1:
            return body[:place] + slipped + body[place:]
        case 2:
            return body[:place] + slipped + body[end:]
        case 3:
            return body + body
        case _:
            return "".join(chance.sample(body, len(body)))


async def test_ten_thousand_hostile_bodies_harm_nobody() -> None:
    chance = random.Random(7)  # noqa: S311  the same bodies each time
    cluster = Cluster(FakeGroups.of(*range(1, 10)))
    valid = [compute_ready(number) for number in range(1, 10)] + [notification(number, "LAUNCH") for number in range(1, 10)]
    others = [spot_interruption(20), hook(21, "LAUNCHING", "join"), notification(22, "TERMINATE"), compute_ready(23)]
    corpus = [path.read_bytes().decode("utf-8", "surrogateescape") for path in CORPUS]
    bodies = [_mangled(chance.choice(valid + others), chance) for _ in range(HOSTILE - len(corpus))] + corpus
    chance.shuffle(bodies)
    for place, body in enumerate(valid):
        bodies.insert(chance.randrange(len(bodies)) if place else 0, body)
    for body in bodies:
        cluster.queue.put(body)
    stop = asyncio.Event()
    while cluster.queue.waiting:
        await cluster.service.cycle(stop)
    assert len(bodies) >= HOSTILE + len(valid)
    registered = {row.hostname for row in cluster.rows.stored.values() if row.state is State.REGISTERED}
    assert registered == {hostname(number) for number in range(1, 10)}
    assert set(cluster.scheduler.known) == registered
    waiting = {message.body for message in cluster.queue.in_flight.values()}
    assert not waiting & set(valid)
