"""Files are whole or absent, and hashes go by content."""

import pytest

from rporec.files import atomic_file, recover_folder, replace_folder, sha256_path, write_json


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fails():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_replace_folder_swaps_the_whole_folder(tmp_path):
    new, target = tmp_path / "new", tmp_path / "target"
    for folder, text in ((new, "2"), (target, "1")):
        folder.mkdir()
        (folder / text).write_text(text)
    replace_folder(new, target)
    assert [p.name for p in target.iterdir()] == ["2"]
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_recover_folder_brings_the_old_one_back_after_a_kill_between_the_renames(tmp_path):
    target = tmp_path / "target"
    old = tmp_path / ".target.old"
    old.mkdir()
    (old / "x").write_text("1")
    recover_folder(target)
    assert (target / "x").read_text() == "1"


def test_recover_folder_drops_the_old_one_when_the_new_one_arrived(tmp_path):
    target, old = tmp_path / "target", tmp_path / ".target.old"
    target.mkdir()
    old.mkdir()
    recover_folder(target)
    assert target.exists()
    assert not old.exists()


def test_folder_hash_sees_names_and_bytes_but_not_order_of_creation(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder, names in ((first, "ab"), (second, "ba")):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
    assert sha256_path(first) == sha256_path(second)
    (second / "b").write_text("c")
    assert sha256_path(first) != sha256_path(second)


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()
