"""How fast the service answers: `make bench-serve`. Prints one JSON line; what it is at goes to the error stream.

`stored`: `POST /recommend` for histories for which `make reasoning` was run, beside an endpoint of BentoML that does
nothing, in turns in one run, by one client, at concurrency 1 and 32. `first` asks each history once after the start,
`again` asks the same ones again. `ratio` is requests a second beside nothing's (at least .6 wanted), `p99_ratio` the
slowest hundredth beside its (at most 3 wanted), `server_ms` the server's processor time a request, which other work on
the machine changes least.
`live`: reasoning written while the request waits, by the embedded backbone, at concurrency 1 (95 % in 500 ms wanted).
`large`: 100,000 items at concurrency 1 (half of the requests in 25 ms wanted): `first` and `again` as above, `scored`
where the reasoning is stored and the ranking not, so that the whole catalogue is scored.
`missed`: what was wanted and did not come.

Worlds are simulated and of Industrial's size. The client must not be the limit: `client_share` is its share of a core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from infra.bench import serve_server as server
from infra.bench.serve_client import Load, ask
from infra.bench.serve_world import Asked, Counts, histories, keep_reasoning, write_package
from infra.bench.world import arguments, make_world, tell
from infra.worktree import find_checkout

ROOMY = {"client_rate": 1e6, "client_burst": 1_000_000, "live_seconds": 30.0}  # one client stands for many
K = 10  # items asked for
_WARM_UP = 50  # requests
_RATIO, _P99_RATIO = 0.6, 3.0  # at least, at most
_LIVE_P95_MS, _LARGE_P50_MS = 500.0, 25.0  # at most


def main() -> None:
    """Measure what was asked for and print it."""
    parser = arguments(__doc__, "rounds")
    parser.add_argument("--requests", type=int, default=1000, help="a round and concurrency")
    parser.add_argument("--live", type=int, default=100, help="requests for live reasoning")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--large", type=int, default=100_000, help="items of the large catalogue; 0 = none")
    parser.add_argument("--examples", type=int, default=2000, help="texts that the writer is tuned on")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory(prefix="rporec-bench-") as folder:
        figures = small(asked, Path(folder) / "small")
        if asked.large:
            figures["large"] = large(asked, Path(folder) / "large")
    tell("serve", {**figures, "missed": missed(figures)})


def small(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure stored reasoning beside nothing, then live reasoning, with a catalogue of Industrial's size."""
    needed = asked.requests * asked.rounds * len(asked.concurrency)
    found, environment, about = prepare(asked, folder, asked.set, Counts(needed + _WARM_UP, asked.live))
    bodies = [body(history) for history in found.stored]
    figures: dict[str, Any] = {**about, "rounds": asked.rounds, "stored": {}}
    with (
        server.nothing(folder / "nothing") as nothing,
        server.serving(folder / "code", "bento.service:RPORec", environment) as ours,
    ):
        ask(nothing.address, "/nothing", [b"{}"] * _WARM_UP, 1)
        fresh = ask(ours.address, "/recommend", [bodies.pop() for _ in range(_WARM_UP)], 1, keep=True)
        assert sources(fresh) == {"stored": _WARM_UP}
        for concurrency in asked.concurrency:
            turns: dict[str, list[Load]] = {"nothing": [], "first": [], "again": []}
            for number in range(asked.rounds):
                at(f"stored reasoning, concurrency {concurrency}, round {number + 1}")
                part = [bodies.pop() for _ in range(asked.requests)]
                turns["nothing"].append(put(nothing, "/nothing", [b"{}"] * len(part), concurrency))
                for name in ("first", "again"):
                    turns[name].append(put(ours, "/recommend", part, concurrency))
            figures["stored"][f"concurrency_{concurrency}"] = compare(turns)
        if asked.live:
            at("live reasoning")
            figures["live"] = told(put(ours, "/recommend", [body(history) for history in found.unknown], 1))
        figures["memory"] = {"mb": round(ours.memory_mb()), "nothing_mb": round(nothing.memory_mb())}
    return figures


def large(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure stored reasoning with a large catalogue, at concurrency 1."""
    settings, half = f"{asked.set} ingest.market.items={asked.large}", asked.requests // 2
    found, environment, about = prepare(asked, folder, settings, Counts(half + _WARM_UP, 0, half // 2))
    bodies = [body(history) for history in found.stored]
    with server.serving(folder / "code", "bento.service:RPORec", environment) as ours:
        ask(ours.address, "/recommend", [bodies.pop() for _ in range(_WARM_UP)], 1)
        at("the large catalogue")
        loads = {name: put(ours, "/recommend", bodies, 1) for name in ("first", "again")}
        loads["scored"] = put(ours, "/recommend", [body(history) for history in found.unranked], 1)
    return {**about, **{name: told(load) for name, load in loads.items()}}


def missed(figures: dict[str, Any]) -> list[str]:
    """Return which figures are not as they are wanted, in words."""
    found = []
    for where, ways in figures["stored"].items():
        for name in ("first", "again"):
            if ways[name]["ratio"] < _RATIO:
                found.append(f"stored, {where}, {name}: ratio {ways[name]['ratio']}, at least {_RATIO}")
            if ways[name]["p99_ratio"] > _P99_RATIO:
                found.append(f"stored, {where}, {name}: p99_ratio {ways[name]['p99_ratio']}, at most {_P99_RATIO}")
    if "live" in figures and figures["live"]["p95_ms"] > _LIVE_P95_MS:
        found.append(f"live: p95 {figures['live']['p95_ms']} ms, at most {_LIVE_P95_MS}")
    for name, figures_of in figures.get("large", {}).items():
        if name in ("first", "again", "scored") and figures_of["p50_ms"] > _LARGE_P50_MS:
            found.append(f"large, {name}: p50 {figures_of['p50_ms']} ms, at most {_LARGE_P50_MS}")
    return found


def prepare(
    asked: argparse.Namespace, folder: Path, settings: str, counts: Counts
) -> tuple[Asked, dict[str, str], dict[str, Any]]:
    """Make a package, its store and the code that serves; return histories, the server's environment and sizes.

    Args:
        asked: the command line.
        folder: where to.
        settings: of the world.
        counts: how many histories of each kind.
    """
    at(f"a world for {folder.name}")
    checkout = find_checkout(Path.cwd())
    world = make_world(checkout, f"backbone.max_examples={asked.examples} {settings}")
    package, home = folder / "package", folder / "home"
    write_package(world, package)
    found = histories(world, counts)
    home.mkdir(parents=True)
    keep_reasoning(package, home, found, world)
    server.lay_out(checkout, folder / "code", ROOMY)
    about = {"items": world.catalogue.n, "width": world.params.rechead.width, "k": K}
    return found, {"RPOREC_HOME": str(home), "RPOREC_PACKAGE": str(package)}, about


def put(running: server.Running, path: str, bodies: Sequence[bytes], concurrency: int) -> Load:
    """Ask each body once; the processor time of the server is measured too."""
    before = running.computed()
    load = ask(running.address, path, bodies, concurrency, keep=True)
    load.computed = running.computed() - before
    return load


def body(history: Sequence[str]) -> bytes:
    """Return a request."""
    return json.dumps({"history": list(history), "k": K}).encode()


def compare(turns: dict[str, list[Load]]) -> dict[str, Any]:
    """Return what each way did at a concurrency, medians over the rounds, and beside nothing."""
    rates = {name: statistics.median(one.rate for one in loads) for name, loads in turns.items()}
    slow = {name: statistics.median(one.quantile_ms(0.99) for one in loads) for name, loads in turns.items()}
    compared = {}
    for name, loads in turns.items():
        figures: dict[str, Any] = {
            "requests_per_s": round(rates[name], 1), "p99_ms": round(slow[name], 2),
            "p50_ms": round(statistics.median(one.quantile_ms(0.5) for one in loads), 2),
            "server_ms": round(1000 * statistics.median(one.computed / len(one.latencies) for one in loads), 3),
            "failures": sum(len(one.failures) for one in loads),
            "client_share": round(statistics.median(one.client_share for one in loads), 2),
        }  # fmt: skip
        if name != "nothing":
            figures["sources"] = dict(sum((sources(one) for one in loads), Counter()))
            figures["ratio"] = round(rates[name] / rates["nothing"], 3)
            figures["p99_ratio"] = round(slow[name] / slow["nothing"], 2)
        compared[name] = figures
    return compared


def sources(load: Load) -> Counter[str]:
    """Return how many answers were ranked by which reasoning."""
    return Counter(json.loads(one)["reasoning_source"] for one in load.bodies)


def told(load: Load) -> dict[str, Any]:
    """Return what came of a load by itself."""
    return {
        **{f"p{round(100 * share)}_ms": round(load.quantile_ms(share), 1) for share in (0.5, 0.95, 0.99)},
        "server_ms": round(1000 * load.computed / len(load.latencies), 3),
        "requests": len(load.latencies),
        "failures": len(load.failures),
        "sources": dict(sources(load)),
    }


def at(what: str) -> None:
    """Tell on the error stream what is being done."""
    sys.stderr.write(f"bench-serve: {what}\n")


if __name__ == "__main__":
    main()
