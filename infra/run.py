"""The driver of `make run`: workspace, stages, gate, promotion, summary. `python -m infra.run`.

Reads PROFILE, DATA and SET from the environment (the Makefile hands them over). Only calls the parts in order: what a
stage does is in rporec, where a run works is in infra/workspace.py. A run with nothing to do imports nothing heavy.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from infra import last_night, pipeline, remote, service, workspace
from infra.workspace import Workspace
from rporec.errors import InputError
from rporec.files import atomic_file, read_json, write_json, write_text
from rporec.release import commit, lookup, summary
from steps.stage import guarded

log = logging.getLogger("rporec")
_PAGE = Path("outputs/evaluate/reasoning.html")  # a night from before there was one has none
_ACTS_CODE = ("steps/gate.py", "steps/promote.py", "rporec/evaluation", "rporec/release")


def main() -> None:
    """Parse the command line and act; bad input is one message and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", choices=("gate", "promote", "challenge", "serve"), help="do this alone with the last package"
    )
    only = parser.parse_args().only
    signal.signal(signal.SIGTERM, _stop)
    try:
        guarded(lambda: drive(only))
    except KeyboardInterrupt:
        sys.stderr.write("run: stopped; the same command goes on from here\n")
        sys.exit(130)


def drive(only: str | None) -> None:
    """Plan from PROFILE, DATA and SET, then do the whole run or one act of it."""
    started = time.monotonic()
    profile, data, settings = (os.environ.get(name, "").strip() for name in ("PROFILE", "DATA", "SET"))
    if only is None:
        space = workspace.plan(profile, data, settings, Path.cwd())
    else:
        space = workspace.existing(profile, Path.cwd())
        if data or settings:
            raise InputError(f"{only} takes the last run as it is", field="DATA, SET", cure="leave them to make run")
    if only == "serve":
        serve(space)
    with workspace.locked(space.checkout, space.root):
        if only is None:
            whole_run(space)
            sys.stdout.write(f"Done in {time.monotonic() - started:.1f} s.\n")
        else:
            _has_package(space)
            act(space, *_act_of(only))


def _act_of(only: str) -> tuple[str, ...]:
    """Return the step behind a verb, and its options; AGAIN brings back a version that was rolled back."""
    if only == "challenge":
        return ("promote", "--must", "--challenger")
    if only == "promote":
        return ("promote", "--must", *(["--again"] if os.environ.get("AGAIN", "").strip() else []))
    return (only,)


def whole_run(space: Workspace) -> None:
    """Bring stages, verdict, registry and reports up to date and print where they stand."""
    workspace.prepare(space)
    before = pipeline.record_times(space.root)
    with _registry_in_background(space):
        try:
            pipeline.reproduce(space.root, workspace.environment(space), data=space.data)
        except BaseException:
            _keep_what_there_is(space, before)
            raise
        ran = _keep(space, before)
    before = pipeline.record_times(space.root)
    judge(space)
    ran |= pipeline.written_since(space.root, before)
    profile = "" if space.in_place else space.params.run.profile
    report(space, ran, space.checkout / "reports" / profile)
    if profile:
        _copy(space.root / "reports" / "summary.json", space.checkout / "reports" / "summary.json")


def _keep(space: Workspace, before: Mapping[str, int]) -> set[str]:
    """Keep the records of the stages that ran since `before`, and tonight's profile; return these stages."""
    ran = pipeline.written_since(space.root, before)
    pipeline.keep_records(space.root, space.home, ran)
    last_night.keep(space.root, space.home, space.params)
    return ran


def _keep_what_there_is(space: Workspace, before: Mapping[str, int]) -> None:
    """Keep the records of a run that failed; what is half written must not hide why it failed."""
    try:
        _keep(space, before)
    except Exception as error:  # noqa: BLE001 - whatever it is, the first error stands
        log.warning("the records of this run could not be kept: %s", error)


def judge(space: Workspace) -> None:
    """Gate and promote the package unless that was done for these bytes, code and limits, and this champion.

    A package that failed against one champion may pass against another, as after a rollback.
    """
    model = lookup.model_name(space.params.run.profile)
    where = summary.standing(space.root, registry_uri(space), model)
    if where.settled and where.version is not None:
        remote.pay(space)
        return
    mark = space.root / "records" / ".judged"
    key = _judgement_key(space, where.package_hash)
    if where.settled and mark.exists() and mark.read_text("utf-8") == key:
        return
    if where.unjudged:
        act(space, "gate")
    if read_json(space.root / summary.GATES)["verdict"] == "pass":
        remote.push(space, "ingest")  # first: a version is made again from its number and the DVC remote
    act(space, "promote")  # a failing package too: it stays in MLflow as a run
    write_text(mark, _judgement_key(space, where.package_hash))


def act(space: Workspace, name: str, *options: str) -> None:
    """Run `steps.gate` or `steps.promote` in the workspace.

    Raises:
        SystemExit: it refused or failed; its own message stands above.
    """
    env = {**os.environ, **workspace.environment(space)}
    command = [sys.executable, "-m", f"steps.{name}", *options]
    code = subprocess.run(command, cwd=space.root, env=env, check=False).returncode
    if code:
        raise SystemExit(code if code > 0 else 1)


def serve(space: Workspace) -> NoReturn:
    """Become the service of the profile's champion.

    Raises:
        InputError: there is no champion yet (a service without a model would be restarted for ever).
    """
    uri, model = registry_uri(space), lookup.model_name(space.params.run.profile)
    if lookup.sqlite_file(uri) is not None and lookup.by_alias(uri, model, "champion") is None:
        raise InputError(
            "there is no champion to serve", field="PROFILE", value=model, rule="alias champion in the registry",
            cure="make run first, with the same PROFILE",
        )  # fmt: skip
    if os.environ.get("RPOREC_PACKAGE", ""):
        log.info("serve: RPOREC_PACKAGE is left out, this serves the champion alone")
    os.chdir(space.root)
    os.execve(sys.executable, service.command(space.params.serve.port), service.environment(space))


def registry_uri(space: Workspace) -> str:
    """Return the MLflow tracking URI of a workspace."""
    return lookup.tracking_uri(space.home, os.environ)


@contextmanager
def _registry_in_background(space: Workspace) -> Iterator[None]:
    """Make a first run's registry database (20-30 s of migrations) beside the stages, at low priority."""
    file = lookup.sqlite_file(registry_uri(space))
    if file is None or file.exists():
        yield
        return
    env = {**os.environ, **workspace.environment(space)}
    command = ["nice", sys.executable, "-m", "infra.registry", str(file)]
    # Silent: what hinders it hinders the promotion too, which then says so in one place.
    process = subprocess.Popen(command, cwd=space.checkout, env=env, stderr=subprocess.DEVNULL)
    try:
        yield
        process.wait()
    finally:
        process.terminate()
        process.wait()


def report(space: Workspace, ran: set[str], shown: Path) -> None:
    """Write reports/summary.json, copy all reports to the folder `shown`, print the table and where things lie."""
    stages = pipeline.stage_names(space.root)
    cached = [name for name in (*stages, *summary.ACTS) if name not in ran]
    facts = summary.RunFacts(
        space.params.run.profile, commit.git_commit(space.root), stages, cached, registry_uri(space)
    )
    built = summary.build_summary(space.root, facts)
    reports = space.root / "reports"
    write_json(reports / "summary.json", built)
    if (space.root / _PAGE).exists():
        _copy(space.root / _PAGE, reports / _PAGE.name)
    if shown != reports:
        for path in sorted(path for path in reports.iterdir() if path.is_file()):
            _copy(path, shown / path.name)
    sys.stdout.write(closing(built, shown, read_json(reports / "gates.json")))


def closing(built: dict[str, Any], reports: Path, gates: dict[str, Any]) -> str:
    """Return what the user reads at the end: stages, recommendation, verdict, paths."""
    lines = ["", f"{'stage':<10} {'cached':>6} {'seconds':>9} {'peak MB':>9}"]
    for row in built["stages"]:
        seconds, peak = ("-" if row[key] is None else f"{row[key]:.1f}" for key in ("seconds", "peak_mb"))
        lines.append(f"{row['name']:<10} {'yes' if row['cached'] else '':>6} {seconds:>9} {peak:>9}")
    asked = reports / "recommendation.txt"
    if built["version"] is not None and asked.exists():
        lines += ["", asked.read_text(encoding="utf-8").rstrip()]
    lines += ["", f"verdict: {built['verdict']}"]
    lines += [f"  {gate['name']}: {gate['reason']}" for gate in gates["gates"] if gate["status"] == "fail"]
    if built["version"] is not None:
        lines.append(f"registry: {lookup.model_name(built['profile'])} version {built['version']}")
    pages = [reports / "report.html", reports / _PAGE.name]
    lines += [f"{page.stem}: {page}" for page in pages if page.exists()]
    lines += [f"summary: {reports / 'summary.json'}", ""]
    return "\n".join(lines)


def _judgement_key(space: Workspace, package_hash: str) -> str:
    now = lookup.by_alias(registry_uri(space), lookup.model_name(space.params.run.profile), lookup.CHAMPION)
    return f"{package_hash} {now.package_hash if now else 'no champion'} {_acts_key(space)}"


def _acts_key(space: Workspace) -> str:
    digest = hashlib.sha256()
    for section in (space.params.gate, space.params.promote, space.params.serve):
        digest.update(section.model_dump_json().encode())
    for name in _ACTS_CODE:
        base = space.root / name
        for path in sorted(base.rglob("*.py")) if base.is_dir() else [base]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _has_package(space: Workspace) -> None:
    if not (space.root / summary.PACKAGE).is_dir():
        raise InputError("there is no package yet", file=space.root / summary.PACKAGE, cure="make run first")


def _copy(source: Path, target: Path) -> None:
    if not (target.exists() and target.read_bytes() == source.read_bytes()):
        with atomic_file(target) as temporary:
            shutil.copyfile(source, temporary)


def _stop(number: int, frame: object) -> NoReturn:  # noqa: ARG001 - the signature of a handler
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
