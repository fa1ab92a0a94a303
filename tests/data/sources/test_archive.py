"""Packed files: streams that end early, lines without end, zip files that lie about names and sizes."""

import gzip
import stat
import zipfile
from pathlib import Path

import pytest

from rporec.data.sources import archive
from rporec.errors import InputError


def packed(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, body in members.items():
            made.writestr(name, body)
    return str(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_are_the_same_plain_and_packed(name, tmp_path):
    body = b"one\r\ntwo\n\n\xff\nlast"
    (tmp_path / name).write_bytes(gzip.compress(body) if name.endswith("gz") else body)
    assert list(archive.lines(str(tmp_path / name))) == [b"one", b"two", b"", b"\xff", b"last"]


def test_a_packed_file_under_a_plain_name_is_unpacked(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b"one\n"))
    assert list(archive.lines(str(tmp_path / "a.jsonl"))) == [b"one"]


def test_a_cut_gzip_file_says_how_many_lines_were_read(tmp_path):
    whole = gzip.compress(b"".join(b"line %d of many\n" % number for number in range(50_000)), mtime=0)
    (tmp_path / "a.gz").write_bytes(whole[: len(whole) // 2])
    read = []
    with pytest.raises(InputError, match="gzip") as caught:
        read.extend(archive.lines(str(tmp_path / "a.gz")))
    assert caught.value.value.endswith("lines were read")
    assert 0 < int(caught.value.value.split()[0]) < 50_000
    assert caught.value.file == str(tmp_path / "a.gz")
    assert "download it again" in caught.value.cure


@pytest.mark.parametrize("damage", ["not gzip", "checksum", "inside"])
def test_what_is_no_whole_gzip_file_is_refused(damage, tmp_path):
    whole = bytearray(gzip.compress(b"line\n" * 1000))
    if damage == "checksum":
        whole[-6] ^= 0xFF
    if damage == "inside":
        whole[12:16] = b"\xff\xff\xff\xff"
    (tmp_path / "a.gz").write_bytes(b'{"plain": 1}\n' if damage == "not gzip" else whole)
    with pytest.raises(InputError, match="gzip"):
        list(archive.lines(str(tmp_path / "a.gz")))


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match="cannot be read"):
            list(archive.lines(str(path)))


def test_a_line_without_end_is_refused_before_it_fills_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_LINE", 1000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"short\n" + b"x" * 1_000_000))
    lines = archive.lines(str(tmp_path / "a.gz"))
    assert next(lines) == b"short"
    with pytest.raises(InputError, match="too long") as caught:
        next(lines)
    assert caught.value.field == "line 1"


def test_a_highly_packed_stream_is_read(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b'{"a": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}\n' * 200_000))
    assert sum(1 for _ in archive.lines(str(tmp_path / "a.gz"))) == 200_000


def test_wanted_members_are_unpacked_under_our_own_names(tmp_path):
    path = packed(tmp_path / "a.zip", {"ml-1m/ratings.dat": b"1::2", "ml-1m/README": b"text", "ml-1m/": b""})
    assert archive.members(path) == ["ml-1m/README", "ml-1m/ratings.dat"]
    found = archive.unpack(path, {"mine.dat": "ml-1m/ratings.dat"}, tmp_path / "scratch")
    assert found == {"mine.dat": tmp_path / "scratch" / "mine.dat"}
    assert found["mine.dat"].read_bytes() == b"1::2"
    assert [file.name for file in (tmp_path / "scratch").iterdir()] == ["mine.dat"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "C:/x", "c:x", "a\\..\\..\\up", "\\\\host\\x"])
def test_names_that_lead_outside_are_refused(name, tmp_path):
    path = packed(tmp_path / "a.zip", {"good": b"1", name: b"2"})
    with pytest.raises(InputError, match="no published file") as caught:
        archive.unpack(path, {"good": "good"}, tmp_path / "scratch")
    assert "relative name" in caught.value.rule
    assert not list((tmp_path / "scratch").iterdir())


def test_links_passwords_and_twins_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = packed(tmp_path / "link.zip", {link: b"/etc/passwd"})
    with pytest.raises(InputError) as caught:
        archive.members(path)
    assert caught.value.rule == "no links"

    raw = Path(packed(tmp_path / "two.zip", {"first": b"1", "other": b"2"})).read_bytes()
    (tmp_path / "twins.zip").write_bytes(raw.replace(b"other", b"first"))
    with pytest.raises(InputError) as caught:
        archive.members(str(tmp_path / "twins.zip"))
    assert caught.value.rule == "one member a name"

    raw = bytearray((tmp_path / "link.zip").read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(raw.replace(b"link", b"good"))
    with pytest.raises(InputError):
        archive.members(str(tmp_path / "secret.zip"))


def test_bombs_are_refused_by_what_they_declare(tmp_path, monkeypatch):
    path = packed(tmp_path / "a.zip", {"zeros": b"\0" * 1_000_000})
    assert archive.members(path) == ["zeros"]  # small files may be packed as tightly as they like
    monkeypatch.setattr(archive, "RATIO_FROM", 100_000)
    with pytest.raises(InputError) as caught:
        archive.members(path)
    assert "unpacked bytes for one packed" in caught.value.rule
    monkeypatch.setattr(archive, "RATIO_FROM", 1 << 40)
    monkeypatch.setattr(archive, "MAX_UNPACKED", 999_999)
    with pytest.raises(InputError, match="too large"):
        archive.members(path)


def test_a_member_that_declares_fewer_bytes_than_it_has_is_cut_off(tmp_path):
    path = tmp_path / "a.zip"
    packed(path, {"zeros": b"\0" * 1_000_000})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02") + 24
    raw[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(InputError, match="cannot be unpacked"):
        archive.unpack(str(path), {"zeros": "zeros"}, tmp_path / "scratch")
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("damage", ["cut", "checksum", "no zip", "method"])
def test_broken_zip_files_are_refused(damage, tmp_path):
    path = tmp_path / "a.zip"
    packed(path, {"a": bytes(range(256)) * 10}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    if damage == "cut":
        raw = raw[: len(raw) // 2]
    if damage == "checksum":
        raw[500] ^= 0xFF
    if damage == "no zip":
        raw = bytearray(b"<html>not found</html>")
    if damage == "method":
        raw[8] = raw[raw.index(b"PK\x01\x02") + 10] = 77
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        archive.unpack(str(path), {"a": "a"}, tmp_path / "scratch")
    assert caught.value.file == str(path)
    assert "download it again" in caught.value.cure
