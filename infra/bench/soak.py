"""The service for half an hour at half of what it can, with three hot swaps: `make bench-soak`, SECONDS=1800.

Prints JSON lines: what it can, then what came of the soak. No request may fail, and the memory after the last swap may
be at most 5 % above that after the first eighth, when its caches are filled. Histories recur; every swap makes all
rankings anew. `--home` may name a folder with a migrated registry, which takes a minute to make.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from infra.bench import serve_server as server
from infra.bench.serve import ROOMY, body
from infra.bench.serve_client import Load, ask, ask_at_rate
from infra.bench.serve_world import Counts, histories, keep_reasoning, mark_package, write_package
from infra.bench.world import arguments, make_world, tell
from infra.worktree import find_checkout
from rporec.release import lookup, manifest, registry
from rporec.release.place import Place, client

MODEL = lookup.model_name("demo")
SWAPS = 3
_SHARE = 0.5  # of what the service can
_MOST_GROWTH = 0.05


@dataclass(frozen=True)
class Soaked:
    """What came of a soak: the load, memory [MB] at each look, versions that answered."""

    load: Load
    memory: list[float]
    versions: list[int]


def main() -> None:
    """Soak and print; exit 1 where a request failed or memory grew too much."""
    parser = arguments(__doc__, "unused")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS") or 1800), help="of the soak")
    parser.add_argument("--histories", type=int, default=2000, help="that recur")
    parser.add_argument("--examples", type=int, default=200, help="texts that the writer is tuned on")
    parser.add_argument("--home", type=Path, default=None, help="folder of an empty registry")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory(prefix="rporec-soak-") as name:
        folder = Path(name)
        home = asked.home or folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        settings = f"backbone.max_examples={asked.examples} {asked.set}"
        bodies, packages = prepare(folder, home, settings, asked.histories)
        place = Place(lookup.default_uri(home), home)
        registry.prepare(place)
        versions = register(place, packages)
        with server.serving(folder / "code", "bento.service:RPORec", {"RPOREC_HOME": str(home)}) as running:
            able = ask(running.address, "/recommend", bodies, 32)
            tell("soak, able", {"requests_per_s": round(able.rate, 1), "failures": len(able.failures)})
            found = soak(running, bodies, asked.seconds, able.rate * _SHARE, lambda at: point(place, versions[at]))
    report(found, asked.seconds)


def prepare(folder: Path, home: Path, settings: str, count: int) -> tuple[list[bytes], list[Path]]:
    """Make the code that serves and one package a model, with reasoning for `count` histories; return requests."""
    checkout = find_checkout(Path.cwd())
    world = make_world(checkout, settings)
    packages = [folder / f"package-{number}" for number in range(SWAPS + 1)]
    write_package(world, packages[0])
    asked = histories(world, Counts(count, 0))
    for number, package in enumerate(packages):
        if number:
            shutil.copytree(packages[0], package)
            mark_package(package, str(number))
        keep_reasoning(package, home, asked, world)
    server.lay_out(checkout, folder / "code", ROOMY)
    return [body(history) for history in asked.stored], packages


def register(place: Place, packages: list[Path]) -> list[int]:
    """Make a version of each package and let the first serve; return their numbers."""
    registered = client(place)
    registered.create_registered_model(MODEL)
    versions = []
    for package in packages:
        tags = {"package_hash": manifest.read(package).package_hash, "verdict": "pass"}
        versions.append(int(registered.create_model_version(MODEL, package.as_uri(), tags=tags).version))
    point(place, versions[0])
    return versions


def point(place: Place, version: int) -> None:
    """Let a version serve, without the rules of a promotion: the swap is what is looked at."""
    client(place).set_registered_model_alias(MODEL, lookup.CHAMPION, str(version))


def soak(
    running: server.Running, bodies: list[bytes], seconds: float, rate: float, swap: Callable[[int], None]
) -> Soaked:
    """Ask at a rate for so long; swap at a quarter, a half and three quarters, look at memory at each eighth."""
    memory: list[float] = []
    ends = threading.Event()

    def act() -> None:
        for eighth in range(1, 8):
            if ends.wait(seconds / 8):
                return
            memory.append(running.memory_mb())
            if eighth % 2 == 0:
                swap(eighth // 2)

    actor = threading.Thread(target=act, name="swaps")
    actor.start()
    load = ask_at_rate(running.address, "/recommend", _for_ever(bodies), rate, seconds)
    ends.set()
    actor.join()
    memory.append(running.memory_mb())
    last = ask(running.address, "/recommend", bodies[:1], 1, keep=True)
    return Soaked(load, memory, [json.loads(told)["model"]["version"] for told in last.bodies])


def report(found: Soaked, seconds: float) -> None:
    """Print what came of it; exit 1 where it is not as it must be."""
    growth = found.memory[-1] / found.memory[0] - 1
    load = found.load
    figures = {
        "seconds": seconds, "requests": len(load.latencies), "requests_per_s": round(load.rate, 1),
        "failures": len(load.failures), "first_failures": load.failures[:3], "p50_ms": round(load.quantile_ms(0.5), 2),
        "p99_ms": round(load.quantile_ms(0.99), 2), "swaps": SWAPS, "last_version": found.versions[-1],
        "memory_mb": [round(one) for one in found.memory], "memory_growth": round(growth, 4),
        "client_share": round(load.client_share, 2),
    }  # fmt: skip
    tell("soak", figures)
    if load.failures or growth > _MOST_GROWTH:
        sys.stderr.write("bench-soak: a request failed, or memory grew too much\n")
        raise SystemExit(1)


def _for_ever(bodies: list[bytes]) -> Iterator[bytes]:
    return itertools.cycle(bodies)


if __name__ == "__main__":
    main()
