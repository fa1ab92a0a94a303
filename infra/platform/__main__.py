"""`make platform`, `make platform-down`: `python -m infra.platform up|down|airflow ...`.

`keep` and `service` are what `up` itself starts: the keeper of the parts, and the service that waits for a champion.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from infra import worktree
from infra.platform import keys, parts, prepare, processes, settings, state
from infra.platform.keeper import START_SECONDS, Keeper, log_file
from infra.platform.settings import Settings
from infra.platform.state import State
from rporec.errors import InputError
from rporec.home import home_folder
from rporec.release import lookup
from steps.stage import guarded

log = logging.getLogger("rporec")
_TOKEN = "RPOREC_PLATFORM_TOKEN"
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 120.0


def main() -> None:
    """Parse the command line and act; bad input is one message and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "keep", parts.SERVICE):
        commands.add_parser(name)
    commands.add_parser("airflow", help="Airflow's own command line, with the platform's settings", add_help=False)
    given, words = parser.parse_known_args()
    verbs = {"up": up, "down": down, "keep": keep, parts.SERVICE: serve, "airflow": lambda: airflow(words)}
    if words and given.command != "airflow":
        parser.error(f"unknown: {' '.join(words)}")
    guarded(verbs[given.command])


def up() -> None:
    """Start the platform and wait until it is healthy; where it runs already, say so.

    Raises:
        InputError: a port is taken, a database is away, a part failed.
    """
    checkout = worktree.find_checkout(Path.cwd())
    folder = home_folder(checkout, os.environ) / "platform"
    with state.lock(folder) as held:
        if held is None:
            _tell_running(folder)
            return
        if state.stop_leftovers(folder):
            log.info("platform: what a dead keeper had left running was stopped")
        chosen = settings.read(checkout, os.environ)
        settings.in_use(chosen)
        log.info("platform: the databases are made or migrated (about a minute the first time)")
        prepare.prepare(chosen, os.environ)
        log.info("platform: the services start")
        keeper = _start_keeper(chosen, held.fileno())
        try:
            _follow(chosen.folder, keeper)
        except KeyboardInterrupt:
            keeper.terminate()
            keeper.wait()
            raise SystemExit(130) from None
    _print(chosen.home, state.read(chosen.folder))


def _start_keeper(chosen: Settings, lock: int) -> subprocess.Popen[bytes]:
    ports = {name: str(port) for name, port in chosen.ports.items()}  # a free port is chosen once
    env = {**os.environ, **ports, _TOKEN: secrets.token_hex(8)}
    path = log_file(chosen.folder, "keeper")
    with path.open("w") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.platform", "keep"], cwd=chosen.checkout, env=env, pass_fds=[lock],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip


def _follow(folder: Path, keeper: subprocess.Popen[bytes]) -> None:
    """Wait until the keeper says that all is up."""
    deadline = time.monotonic() + START_SECONDS + _STOP_SECONDS
    while time.monotonic() < deadline:
        ended = keeper.poll() is not None
        now = state.read(folder)
        if now is not None and now.phase == "up" and not ended:
            return
        if ended:
            failed = now.note if now is not None and now.phase == "failed" else _of_keeper(folder, keeper.returncode)
            state.stop_leftovers(folder)
            raise InputError(failed, file=folder / "logs", cure="mend what the log names; then the same command again")
        time.sleep(_LOOK_SECONDS)
    keeper.terminate()
    raise InputError("the platform does not start", file=folder / "logs", cure="read the logs")


def _of_keeper(folder: Path, code: int) -> str:
    lines = log_file(folder, "keeper").read_text(encoding="utf-8").splitlines()[-5:]
    return "\n".join([f"the keeper ended with exit code {code}:", *lines])


def _tell_running(folder: Path) -> None:
    now = state.read(folder)
    if now is None or now.phase != "up":
        raise InputError("another start or stop of the platform is under way", file=folder, cure="wait for it")
    sys.stdout.write("The platform runs already.\n")
    _print(folder.parent, now)


def _print(home: Path, now: State | None) -> None:
    """Say where all is."""
    if now is None:
        raise InputError("the platform was stopped meanwhile", cure="start it again")
    notes = {
        "airflow": f"user admin, password in {home / 'airflow' / keys.PASSWORDS}",
        "mlflow": "no log-in",
        parts.SERVICE: "waits for the first champion" if (home / "platform" / parts.WAITING).exists() else "no log-in",
    }
    lines = [f"{name:<8} {address:<24} {notes[name]}" for name, address in now.pages.items()]
    if "RPOREC_AUDIT_URL" in os.environ or os.environ.get("DATABASE_URL"):
        lines.append(
            f"commands in a shell: export MLFLOW_TRACKING_URI={now.pages['mlflow']} RPOREC_AUDIT_URL=$DATABASE_URL"
        )
    lines += [f"logs     {home / 'platform' / 'logs'}", "stop     make platform-down", ""]
    sys.stdout.write("\n".join(lines))


def down() -> None:
    """Stop all that `up` started, and nothing else; also what a keeper that was killed left behind."""
    folder = home_folder(worktree.find_checkout(Path.cwd()), os.environ) / "platform"
    now = state.read(folder)
    if now is not None and processes.alive(now.keeper):
        os.kill(now.keeper.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while processes.alive(now.keeper) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        if processes.alive(now.keeper):
            os.kill(now.keeper.pid, signal.SIGKILL)
    with state.lock(folder) as held:
        if held is None:
            raise InputError("a start of the platform is under way", file=folder, cure="wait for it, or stop it there")
        left = state.stop_leftovers(folder)
    sys.stdout.write("The platform was stopped.\n" if now is not None or left else "The platform does not run.\n")


def keep() -> None:
    """Be the keeper."""
    checkout = worktree.find_checkout(Path.cwd())
    token = os.environ.pop(_TOKEN)
    Keeper(settings.read(checkout, os.environ), token, os.environ).run()


def serve() -> NoReturn:
    """Wait for the first champion of the profile, then become the service."""
    chosen = settings.read(worktree.find_checkout(Path.cwd()), os.environ)
    uri = lookup.tracking_uri(chosen.home, os.environ)
    model, waiting = lookup.model_name(chosen.profile), chosen.folder / parts.WAITING
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow starts beside it; waiting is done here
    while _no_champion(uri, model):
        if not waiting.exists():
            log.info("service: waits for the first champion of %s", model)
            waiting.touch()
        time.sleep(_LOOK_SECONDS * 4)
    waiting.unlink(missing_ok=True)
    os.environ.setdefault("BENTOML_HOME", str(chosen.home / "bentoml"))
    os.environ.pop("RPOREC_PACKAGE", None)  # the platform's service follows the champion
    os.chdir(prepare.served(chosen))
    where = ("--host", settings.HOST, "--port", str(chosen.ports["RPOREC_SERVICE_PORT"]))
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", "bento.service:RPORec", *where])


def _no_champion(uri: str, model: str) -> bool:
    try:
        return lookup.by_alias(uri, model, lookup.CHAMPION) is None
    except Exception as error:  # noqa: BLE001 - MLflow is not up yet, or away: that passes
        log.debug("service: %s", error)
        return True


def airflow(words: list[str]) -> NoReturn:
    """Become Airflow's own command line, with the settings of the platform."""
    chosen = settings.read(worktree.find_checkout(Path.cwd()), os.environ)
    now = state.read(chosen.folder)
    keys.make(chosen.airflow_home, os.environ)
    program = str(Path(sys.executable).parent / "airflow")
    if now is None:
        log.info("platform: it does not run; Airflow's database alone is asked")
    os.execve(program, [program, *words], parts.airflow(chosen, os.environ))


if __name__ == "__main__":
    main()
