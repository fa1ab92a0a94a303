"""Append-only files survive a kill within a line, and never hide a broken one."""

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.journal import Journal


@dataclass(frozen=True)
class Row:
    number: int
    word: str


def journal(folder: Path) -> Journal[Row]:
    return Journal(folder / "home" / "rows.jsonl", Row, "the list", "restore it")


def test_rows_come_back_in_their_order(tmp_path: Path) -> None:
    kept = journal(tmp_path)
    assert kept.rows() == []
    for number in range(3):
        kept.extend(lambda rows: Row(len(rows), "é\u2028"))
        assert len(kept.rows()) == number + 1
    kept.extend(lambda _: None)
    assert kept.rows() == [Row(number, "é\u2028") for number in range(3)]


@pytest.mark.parametrize("torn", [b'{"number": 7, "wo', b"{", b'{"word": "\xc3', b'{"number": 7, "word": "x"}'])
def test_a_torn_last_line_is_cut_off_by_the_next_append(tmp_path: Path, torn: bytes) -> None:
    kept = journal(tmp_path)
    kept.extend(lambda _: Row(0, "a"))
    with kept.path.open("ab") as stream:
        stream.write(torn)
    assert kept.rows() == [Row(0, "a")]
    kept.extend(lambda rows: Row(len(rows), "b"))
    assert kept.rows() == [Row(0, "a"), Row(1, "b")]


@pytest.mark.parametrize("line", ["not json", "[1]", '{"number": 1}', '{"number": 1, "word": "x", "more": 2}'])
def test_a_broken_whole_line_is_an_error_that_names_it(tmp_path: Path, line: str) -> None:
    kept = journal(tmp_path)
    kept.extend(lambda _: Row(0, "a"))
    with kept.path.open("a") as stream:
        stream.write(f"{line}\n")
    for act in (kept.rows, lambda: kept.extend(lambda _: Row(1, "b"))):
        with pytest.raises(InputError, match="line 2 of the list") as told:
            act()
        assert told.value.cure == "restore it"


def test_appends_at_once_see_each_other(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=lambda: journal(tmp_path).extend(lambda rows: Row(len(rows), "x"))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.number for row in journal(tmp_path).rows()] == list(range(20))
