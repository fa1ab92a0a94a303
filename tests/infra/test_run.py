"""The driver around the stages: what it hands to processes, what it keeps of a run that failed."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra import night, run, workspace
from rporec.errors import InputError
from tests.project import ROOT

SECRET = "postgresql://reader:hush@db/shop"


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> workspace.Workspace:
    """A workspace planned with a database; nothing of it is on disk but a home."""
    monkeypatch.setenv("RPOREC_HOME", str(tmp_path / "home"))
    planned = workspace.plan("tiny", "", "", ROOT)
    for name in ("DATA", "RPOREC_DATA"):
        monkeypatch.setenv(name, SECRET)
    return dataclasses.replace(planned, checkout=tmp_path, root=tmp_path, data=SECRET)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The environments of the processes that would have been started."""
    found: list[dict[str, str]] = []

    class Silent:
        def __init__(self, command: list[str], *, env: dict[str, str], **_: Any) -> None:
            found.append(env)
            self.returncode = 0

        def wait(self) -> None: ...

        def terminate(self) -> None: ...

    monkeypatch.setattr(subprocess, "Popen", Silent)
    monkeypatch.setattr(subprocess, "run", Silent)
    return found


def test_gate_promotion_and_registry_are_not_told_where_data_lies(
    space: workspace.Workspace, started: list[dict[str, str]]
) -> None:
    run.act(space, "gate")
    run.act(space, "promote", "--must")
    with run._registry_in_background(space):
        pass
    assert len(started) == 3
    assert "hush" not in str(started)


def test_ingest_alone_is_told_where_a_nights_data_lies(
    space: workspace.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(night, "prepared", lambda _: space)
    monkeypatch.setattr(night.pipeline, "reproduce", lambda *given: calls.append(given))
    monkeypatch.setattr(night.news, "stop_without", lambda *_: None)
    night.stage("2026-01-05", "ingest")
    ((_, env, name, data),) = calls
    assert (name, data) == ("ingest", SECRET)
    assert "hush" not in str(env)


def test_serve_serves_the_champion_whatever_the_shell_names(
    space: workspace.Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda *given: served.append(given[2]))
    monkeypatch.setattr(run.lookup, "by_alias", lambda *_: "version 1")
    monkeypatch.chdir(space.root)
    caplog.set_level(logging.INFO, "rporec")
    run.serve(space)
    assert caplog.text == ""
    monkeypatch.setenv("RPOREC_PACKAGE", "/some/old/package")
    run.serve(space)
    assert "RPOREC_PACKAGE is left out" in caplog.text
    for env in served:
        assert not {"RPOREC_PACKAGE", workspace.MARK, workspace.RUN} & set(env)
        assert "hush" not in str(env)


def test_the_first_error_stands_when_records_cannot_be_kept(
    space: workspace.Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        (space.root / "dvc.lock").write_text("schema: '2.0'\nstages:\n  ingest: {cmd: [")
        raise InputError("stage two stopped", cure="mend it")

    monkeypatch.setattr(run.workspace, "prepare", lambda _: None)
    monkeypatch.setattr(run.lookup, "sqlite_file", lambda _: None)
    monkeypatch.setattr(run.pipeline, "reproduce", fails)
    with pytest.raises(InputError, match="stage two stopped"):
        run.whole_run(space)
    assert "could not be kept" in caplog.text


def test_a_copied_report_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "summary.json", tmp_path / "reports" / "summary.json"
    source.write_text("new")
    run._copy(source, target)
    source.write_text("newer")

    def stops(_: Path, to: Path) -> None:
        Path(to).write_text("ne")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run.shutil, "copyfile", stops)
    with pytest.raises(OSError, match="No space"):
        run._copy(source, target)
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]
