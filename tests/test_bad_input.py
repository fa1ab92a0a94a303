"""Bad input through the real command: exit code, one readable message, no traceback, last good outputs untouched."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests import project
from tests.worlds import World, events_folder, fingerprint, is_root

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def good(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A clone that holds the last good outputs of a run."""
    clone = project.clone(tmp_path_factory.mktemp("good") / "clone")
    shutil.copytree(world.root / "outputs", clone / "runs" / "tiny" / "outputs")
    return World(clone, "", fingerprint(clone / "runs" / "tiny" / "outputs"))


def _refuses(good: World, words: list[str], *arguments: str, says: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*words, "make", *arguments],
        cwd=good.clone, env=project.environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert done.returncode != 0, printed
    assert "Traceback" not in printed, printed
    for part in (*says, "error: ", "cure: "):
        assert part in printed, f"{part!r} is missing in:\n{printed}"
    assert fingerprint(good.root / "outputs") == good.prints, "the last good outputs were touched"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("PROFILE=tinny",), ("profile does not exist", "tinny", "tiny")),
        (("PROFILE=tiny", "SET=align.stepps=5"), ("align.stepps", "SET")),
        (("PROFILE=tiny", "SET=align.steps=many"), ("align.steps", "many", "SET")),
        (("PROFILE=tiny", "SET=sequence.align_share=0.9"), ("sequence.align_share", "0.9", "less than 0.5")),
        (("PROFILE=tiny", "SET=align.steps"), ("section.key=value",)),
        (("PROFILE=tiny", "DATA=nowhere"), ("nowhere",)),
        (("PROFILE=industrial",), ("no data folder is given", "DATA=")),
    ],
)
def test_bad_commands(good: World, arguments: tuple[str, ...], says: tuple[str, ...]) -> None:
    _refuses(good, [], "run", *arguments, says=says)


def test_unknown_key_in_the_parameter_file(good: World) -> None:
    path = good.clone / "params.yaml"
    kept = path.read_text()
    path.write_text(kept.replace("  seed: 7", "  sede: 7"))
    try:
        _refuses(good, [], "run", says=("params.yaml", "run.se"))
    finally:
        path.write_text(kept)


def _no_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _no_column(folder: Path) -> None:
    path = folder / "interactions.parquet"
    pl.read_parquet(path).drop("item_id").write_parquet(path)


def _wrong_type(folder: Path) -> None:
    path = folder / "interactions.parquet"
    pl.read_parquet(path).with_columns(timestamp=pl.lit(True)).write_parquet(path)


def _one_user(folder: Path) -> None:
    path = folder / "interactions.parquet"
    events = pl.read_parquet(path)
    events.filter(pl.col("user_id") == events["user_id"][0]).write_parquet(path)


def _truncated(folder: Path) -> None:
    path = folder / "interactions.parquet"
    path.write_bytes(path.read_bytes()[:-400])


def _corrupt(folder: Path) -> None:
    path = folder / "items.parquet"
    data = bytearray(path.read_bytes())
    data[100 : len(data) // 2] = b"\xff" * (len(data) // 2 - 100)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_files, ("folder",)),
        (_no_column, ("interactions.parquet", "item_id")),
        (_wrong_type, ("interactions.parquet", "timestamp")),
        (_one_user, ("two",)),
        (_truncated, ("interactions.parquet",)),
        (_corrupt, ("items.parquet",)),
    ],
)
def test_bad_data(
    good: World, world: World, tmp_path: Path, spoil: Callable[[Path], None], says: tuple[str, ...]
) -> None:
    folder, _ = events_folder(world, tmp_path / "data")
    spoil(folder)
    _refuses(good, [], "run", "PROFILE=tiny", f"DATA={folder}", says=says)


def test_no_permission_on_the_output_folder(good: World) -> None:
    outputs = good.root / "outputs"
    # Permissions do not bind root; without its capabilities they do.
    words = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if is_root() else []
    if words and shutil.which("setpriv") is None:
        pytest.skip("as root, needs setpriv (util-linux) to give up root's rights over files")
    outputs.chmod(0o555)
    try:
        _refuses(good, words, "run", "PROFILE=tiny", says=("permission",))
    finally:
        outputs.chmod(0o755)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("free_kb", [4, 40, 200, 400])
def test_full_disk(world: World, small_disk: Path, free_kb: int) -> None:
    """In place, with params of profile tiny; the disk fills at one place or another on the way."""
    clone = project.clone(small_disk / "clone")
    shutil.copyfile(world.root / "params.yaml", clone / "params.yaml")
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"\0" * (free - free_kb * 1024))
    done = project.make(clone, "run")
    assert done.returncode != 0
    assert "disk is full" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    outputs = clone / "outputs"
    assert {path.name for path in outputs.glob("*")} <= {"ingest", "validate"}, "whole outputs or none"
    if (outputs / "ingest").exists():
        assert fingerprint(outputs / "ingest") == fingerprint(world.root / "outputs" / "ingest")
