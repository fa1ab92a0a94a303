"""MovieLens as published: ml-100k (tab), ml-1m (`::`) and ml-32m (CSV; so are ml-20m, ml-25m and the latest ones).

Ratings stay lazy at any size; the lists of movies are small (87,585 in ml-32m). A movie has a title and genres, no
description, brand or price.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rporec.data.sources import archive, published
from rporec.data.sources.base import NOTE_LENGTH, RAW_INTERACTIONS, RAW_ITEMS, Bounds, Raw, complete
from rporec.data.sources.layout import DataFile
from rporec.data.sources.tablefile import readable
from rporec.errors import InputError

_RATING = ("user_id", "item_id", "rating", "timestamp")
_HEADERS = {"ratings": ["userId", "movieId", "rating", "timestamp"], "items": ["movieId", "title", "genres"]}
_EXTRA, _UNKNOWN = "__extra", "\ufffd"  # where a field too many stands, and where bytes were no UTF-8
_NO_GENRE = ("", "(no genres listed)", "unknown")
_NEVER = "\x01"  # a separator that no line holds: the line is split at :: later, which polars does not take


@dataclass(frozen=True)
class MovieLensSource:
    """Reads one release.

    Args:
        place: its folder, the folder above it, or its zip file.
    """

    place: str | None

    def read(self, scratch: Path, bounds: Bounds) -> Raw:  # noqa: ARG002 - polars pushes the bounds down itself
        """Open the release (see `rporec.data.sources.base.Source`)."""
        found = published.find("movielens", self.place)
        form = found.form
        files = {role: table[0] for role, table in found.tables.items()}
        if form == published.ZIP:
            form, files = _unpacked(files[published.ZIP], scratch / "movielens")
        with readable(files["ratings"].url):
            ratings = _ratings(form, files["ratings"])
        items, encoding = _movies(form, files)
        stated: dict[str, dict[str, object]] = {
            files["ratings"].name: {"form": form, "timestamp": "s since 1970, UTC"},
            files["items"].name: {"encoding": encoding},
        }
        return Raw(ratings, items, timed=True, given=False, stated=stated)


def _unpacked(packed: DataFile, scratch: Path) -> tuple[str, dict[str, DataFile]]:
    """Return the form of a zip file and its unpacked files, under the names they have in it."""
    form, roles = published.movielens_form(archive.members(packed.url), packed.url)
    own = {published.FORMS[form][role]: member for role, member in roles.items()}
    paths = archive.unpack(packed.url, own, scratch)
    return form, {role: DataFile(member, str(paths[published.FORMS[form][role]])) for role, member in roles.items()}


def _ratings(form: str, file: DataFile) -> pl.LazyFrame:
    if form == "ml-32m":
        frame = _scan_csv(file, "ratings").rename(dict(zip(_HEADERS["ratings"], _RATING, strict=True)))
    elif form == "ml-100k":
        frame = _scan(file, [*_RATING, _EXTRA], "\t")
    else:
        parts = pl.col("line").str.strip_chars_end("\r").str.split_exact("::", len(_RATING))
        frame = _scan(file, ["line"], _NEVER).select(
            "row", parts.struct.rename_fields([*_RATING, _EXTRA]).alias("parts")
        )
        frame = frame.unnest("parts")
    _require_rows(frame, file)
    numbers = {"rating": pl.Float64(), "timestamp": pl.Int64()}
    notes = [_note(name, numbers.get(name)) for name in _RATING]
    note = pl.concat_str(notes, separator="; ", ignore_nulls=True)
    ids = [pl.col(name).str.contains(_UNKNOWN, literal=True) for name in _RATING[:2]]
    return complete(
        frame.with_columns(
            *(_number(name, kind) for name, kind in numbers.items()),
            note=pl.when(note != "").then(note),
            fault=_fault(ids),
            file=pl.lit(file.name),
            row=pl.col("row").cast(pl.Int64),
        ),
        RAW_INTERACTIONS,
    )


def _scan(file: DataFile, names: list[str], separator: str) -> pl.LazyFrame:
    """Open a file without a header as text columns and `row`; its first line may have any number of fields."""
    return pl.scan_csv(
        file.url, separator=separator, has_header=False, quote_char=None, schema=dict.fromkeys(names, pl.String()),
        missing_columns="insert", extra_columns="ignore", truncate_ragged_lines=True, encoding="utf8-lossy", glob=False,
    ).with_row_index("row")  # fmt: skip


def _scan_csv(file: DataFile, role: str) -> pl.LazyFrame:
    """Open a CSV file with its published header as text columns and `row`."""
    with Path(file.url).open("rb") as stream:
        head = stream.readline(1 << 16).decode("utf-8-sig", "replace")
    header = next(csv.reader([head.strip()]), [])
    if header != _HEADERS[role]:
        raise InputError(
            "the header of a MovieLens file is not the published one",
            file=file.url, value=header, rule=",".join(_HEADERS[role]), cure="download the release again",
        )  # fmt: skip
    return pl.scan_csv(
        file.url, schema=dict.fromkeys([*header, _EXTRA], pl.String()), missing_columns="insert",
        truncate_ragged_lines=True, encoding="utf8-lossy", glob=False,
    ).with_row_index("row")  # fmt: skip


def _require_rows(frame: pl.LazyFrame, file: DataFile) -> None:
    if frame.head(1).collect().is_empty():
        raise InputError("the data file is empty", file=file.url, rule="one rating a line", cure="download it again")


def _number(name: str, kind: pl.DataType) -> pl.Expr:
    return pl.col(name).str.strip_chars().cast(kind, strict=False)


def _note(name: str, kind: pl.DataType | None) -> pl.Expr:
    absent = pl.when(pl.col(name).is_null()).then(pl.lit(f"{name} absent"))
    if kind is None:
        return absent
    shown = pl.format("{} '{}'", pl.lit(name), pl.col(name).str.slice(0, NOTE_LENGTH))
    return absent.when(_number(name, kind).is_null()).then(shown)


def _fault(ids: list[pl.Expr]) -> pl.Expr:
    fault = pl.when(pl.col(_EXTRA).is_not_null()).then(pl.lit("too_many_fields"))
    return fault.when(pl.any_horizontal(ids)).then(pl.lit("not_utf8"))


def _movies(form: str, files: dict[str, DataFile]) -> tuple[pl.LazyFrame, str]:
    """Return the items and their encoding."""
    file = files["items"]
    if form == "ml-32m":
        with readable(file.url):
            return _movies_csv(file), "UTF-8"
    lines, encoding = _decoded(file)
    genres = _genres(files["genres"]) if form == "ml-100k" else []
    rows = [
        {"file": file.name, "row": number, **(_flagged(line, genres) if form == "ml-100k" else _parted(line))}
        for number, line in enumerate(lines)
    ]
    columns = {name: [row.get(name) for row in rows] for name in RAW_ITEMS}
    return pl.DataFrame(columns, schema=RAW_ITEMS).lazy(), encoding


def _movies_csv(file: DataFile) -> pl.LazyFrame:
    frame = _scan_csv(file, "items").rename({"movieId": "item_id"})
    genres = pl.col("genres").str.replace_all("|", " > ", literal=True)
    return complete(
        frame.with_columns(
            category=pl.when(~pl.col("genres").is_in(_NO_GENRE)).then(genres),
            fault=_fault([pl.col("item_id").str.contains(_UNKNOWN, literal=True)]),
            note=pl.when(pl.col("title").is_null()).then(pl.lit("title absent")),
            file=pl.lit(file.name),
            row=pl.col("row").cast(pl.Int64),
        ),
        RAW_ITEMS,
    )


def _decoded(file: DataFile) -> tuple[list[str], str]:
    """Return the lines of a list of movies: UTF-8 if all of them are (ml-10m), else latin-1 (ml-100k, ml-1m)."""
    lines = list(archive.lines(file.url))
    try:
        return [line.decode("utf-8") for line in lines], "UTF-8"
    except UnicodeDecodeError:
        return [line.decode("latin-1") for line in lines], "latin-1"


def _genres(file: DataFile) -> list[str]:
    """Return the genres of ml-100k in the order of their flags: lines `name|number`."""
    lines = [line.split("|") for line in _decoded(file)[0] if line]
    if not lines or any(len(parts) != 2 or parts[1].strip() != str(number) for number, parts in enumerate(lines)):
        raise InputError(
            "the list of genres cannot be read",
            file=file.url, rule="lines name|number, numbered from 0", cure="download the release again",
        )  # fmt: skip
    return [name for name, _ in lines]


def _flagged(line: str, genres: list[str]) -> dict[str, object]:
    """Read `id|title|release date|video date|URL|one flag a genre`."""
    parts, width = line.split("|"), 5 + len(genres)
    known = [genre for genre, flag in zip(genres, parts[5:], strict=False) if flag == "1"]
    return _movie(line, parts, width, known)


def _parted(line: str) -> dict[str, object]:
    """Read `id::title::genre|genre`."""
    parts = line.split("::")
    return _movie(line, parts, 3, parts[2].split("|") if len(parts) > 2 else [])


def _movie(line: str, parts: list[str], width: int, genres: list[str]) -> dict[str, object]:
    known = [genre for genre in genres if genre not in _NO_GENRE]
    return {
        "item_id": parts[0] or None,
        "title": parts[1] or None if len(parts) > 1 else None,
        "category": " > ".join(known) or None,
        "fault": "too_many_fields" if len(parts) > width else None,
        "note": None if len(parts) == width else line[:NOTE_LENGTH],
    }
