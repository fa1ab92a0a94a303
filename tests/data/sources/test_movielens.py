"""MovieLens in its three forms, as a folder and as the published zip file, with damaged lines."""

import tempfile
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.data.sources import archive
from rporec.data.sources.base import FAULTS, RAW_INTERACTIONS, RAW_ITEMS, Bounds
from rporec.data.sources.movielens import MovieLensSource
from rporec.errors import InputError

RATINGS = [("1", "31", "2.5", "1260759144"), ("1", "1029", "3", "1260759179"), ("2", "31", "4", "835355493")]
MOVIES = [("31", "Amélie, or \"Le Fabuleux\" (2001)", ["Comedy", "Drama"]), ("1029", "Dumbo (1941)", ["Animation"]),
          ("5", "No genre (2000)", [])]  # fmt: skip
GENRES = ["unknown", "Action", "Animation", "Comedy", "Drama"]


def files(form):
    """The files of a release as published: name → bytes."""
    if form == "ml-32m":
        quoted = [(item, '"' + title.replace('"', '""') + '"', "|".join(genres) or "(no genres listed)")
                  for item, title, genres in MOVIES]  # fmt: skip
        return {
            "ratings.csv": "\n".join(["userId,movieId,rating,timestamp", *map(",".join, RATINGS), ""]).encode(),
            "movies.csv": "\n".join(["movieId,title,genres", *map(",".join, quoted), ""]).encode(),
        }
    if form == "ml-1m":
        movies = ["::".join([item, title, "|".join(genres)]) for item, title, genres in MOVIES]
        return {
            "ratings.dat": "".join("::".join(row) + "\n" for row in RATINGS).encode(),
            "movies.dat": "".join(movie + "\n" for movie in movies).encode("latin-1"),
        }
    flagged = [
        "|".join([item, title, "01-Jan-1995", "", "http://x", *("01"[name in genres] for name in GENRES)])
        for item, title, genres in MOVIES
    ]
    return {
        "u.data": "".join("\t".join(row) + "\n" for row in RATINGS).encode(),
        "u.item": "".join(movie + "\n" for movie in flagged).encode("latin-1"),
        "u.genre": "".join(f"{name}|{number}\n" for number, name in enumerate(GENRES)).encode() + b"\n",
    }


FORMS = ("ml-100k", "ml-1m", "ml-32m")


def write(folder, bodies):
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        (folder / name).write_bytes(body)
    return folder


def read(place, scratch):
    return MovieLensSource(str(place)).read(scratch, Bounds())


@pytest.mark.parametrize("form", FORMS)
def test_the_three_forms_say_the_same(form, tmp_path):
    raw = read(write(tmp_path / "data", files(form)), tmp_path / "scratch")
    interactions, items = raw.interactions.collect(), raw.items.collect()
    assert dict(interactions.schema) == RAW_INTERACTIONS
    assert dict(items.schema) == RAW_ITEMS
    assert (raw.timed, raw.given) == (True, False)
    wanted = [(user, item, float(rating), int(time)) for user, item, rating, time in RATINGS]
    assert interactions.select("user_id", "item_id", "rating", "timestamp").rows() == wanted
    assert items.select("item_id", "title", "category").rows() == [
        ("31", MOVIES[0][1], "Comedy > Drama"), ("1029", "Dumbo (1941)", "Animation"), ("5", "No genre (2000)", None),
    ]  # fmt: skip
    for table, name in ((interactions, next(iter(files(form)))), (items, list(files(form))[1])):
        assert table["row"].to_list() == [0, 1, 2]
        assert set(table["file"]) == {name}
        assert table["fault"].is_null().all()
        assert table["note"].is_null().all()
    assert raw.stated[list(files(form))[1]]["encoding"] == ("UTF-8" if form == "ml-32m" else "latin-1")


@pytest.mark.parametrize("form", FORMS)
def test_the_zip_file_the_folder_and_the_one_above_say_the_same(form, tmp_path):
    write(tmp_path / "a" / form, files(form))
    path = tmp_path / f"{form}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, body in reversed(files(form).items()):
            made.writestr(f"{form}/{name}", body)
        made.writestr(f"{form}/README.txt", "words")
        made.writestr(f"__MACOSX/{form}/._ratings.csv", "x")
    whole = read(tmp_path / "a", tmp_path / "scratch")
    packed = read(path, tmp_path / "scratch")
    for table in ("interactions", "items"):
        assert getattr(whole, table).collect().equals(getattr(packed, table).collect())
    assert {file.name for file in (tmp_path / "scratch/movielens").iterdir()} == set(files(form))
    assert set(packed.interactions.collect()["file"]) == {f"{form}/{next(iter(files(form)))}"}


@pytest.mark.parametrize("members", [{}, {"readme": b"x"}, {"ml-1m/ratings.dat": b"x"}])
def test_a_zip_file_without_a_whole_release_is_refused(members, tmp_path):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name, body in members.items():
            made.writestr(name, body)
    with pytest.raises(InputError, match="missing") as caught:
        read(path, tmp_path / "scratch")
    assert str(caught.value.file).startswith(str(path))


@pytest.mark.parametrize(("form", "sign"), [("ml-100k", "\t"), ("ml-1m", "::"), ("ml-32m", ",")])
def test_damaged_ratings_stay_rows(form, sign, tmp_path):
    rows = [*RATINGS, ("3", "5"), ("4", "5", "3", "1260759144", "more"), ("6", "5", "good", "soon"), RATINGS[0]]
    bodies = files(form)
    name = next(iter(bodies))
    head = b"userId,movieId,rating,timestamp\n" if form == "ml-32m" else b""
    lines = [sign.join(row).encode() for row in rows]
    lines[-1:] = [b"\xff" + lines[-1], b"", lines[-1]]
    bodies[name] = head + b"\r\n".join(lines)
    found = read(write(tmp_path / "data", bodies), tmp_path / "scratch").interactions.collect()
    assert found["row"].to_list() == list(range(9))
    assert found["fault"].to_list() == [None] * 4 + ["too_many_fields", None, "not_utf8", None, None]
    notes = found["note"].to_list()
    assert notes[3] == "rating absent; timestamp absent"
    assert notes[5] == "rating 'good'; timestamp 'soon'"
    assert notes[7] == "user_id absent; item_id absent; rating absent; timestamp absent"
    assert [notes[row] for row in (0, 1, 2, 8)] == [None] * 4
    assert found.select("user_id", "item_id", "rating", "timestamp").row(8) == ("1", "31", 2.5, 1260759144)


@pytest.mark.parametrize("form", ["ml-100k", "ml-1m"])
def test_damaged_movies_stay_rows(form, tmp_path):
    bodies = files(form)
    name, sign = list(bodies)[1], b"|" if form == "ml-100k" else b"::"
    bodies[name] += (
        sign.join([b"7", b"Short (1999)"]) + b"\n\n" + sign.join([b"8", b"Long (1999)", *[b"x"] * 30]) + b"\n"
    )
    found = read(write(tmp_path / "data", bodies), tmp_path / "scratch").items.collect()
    assert found["row"].to_list() == list(range(6))
    assert found["fault"].to_list() == [None] * 5 + ["too_many_fields"]
    assert found["item_id"].to_list()[3:5] == ["7", None]
    assert found["title"][3] == "Short (1999)"
    assert found["note"][3] == (sign.join([b"7", b"Short (1999)"])).decode()
    assert found["note"][:3].is_null().all()


@pytest.mark.parametrize(("form", "first"), [("ml-1m", b"\x01"), ("ml-1m", b"1::2"), ("ml-100k", b"1\t2"),
                                             ("ml-100k", b"1\t2\t3\t4\t5\t6\t7")])  # fmt: skip
def test_a_damaged_first_line_does_not_spoil_the_rest(form, first, tmp_path):
    bodies = files(form)
    name = next(iter(bodies))
    bodies[name] = first + b"\n" + bodies[name]
    found = read(write(tmp_path / "data", bodies), tmp_path / "scratch").interactions.collect()
    assert found["row"].to_list() == [0, 1, 2, 3]
    assert (found["fault"][0] == "too_many_fields") == (len(first) > 6)
    assert found.select("user_id", "item_id", "rating", "timestamp").row(1) == ("1", "31", 2.5, 1260759144)


def test_movies_of_a_csv_with_missing_fields_stay_rows(tmp_path):
    bodies = files("ml-32m")
    bodies["movies.csv"] += b"7\n8,Long,Drama,more\n"
    found = read(write(tmp_path / "data", bodies), tmp_path / "scratch").items.collect()
    assert found["note"].to_list()[3:] == ["title absent", None]
    assert found["fault"].to_list()[3:] == [None, "too_many_fields"]


def test_wrong_headers_empty_files_and_wrong_genres_are_refused(tmp_path):
    bodies = files("ml-32m")
    place = write(tmp_path / "a", {**bodies, "ratings.csv": b"user,item\n1,2\n"})
    with pytest.raises(InputError, match="header") as caught:
        read(place, tmp_path / "scratch")
    assert caught.value.value == ["user", "item"]
    write(place, {**bodies, "ratings.csv": b"userId,movieId,rating,timestamp\n"})
    with pytest.raises(InputError, match="empty"):
        read(place, tmp_path / "scratch")
    place = write(tmp_path / "b", {**files("ml-1m"), "ratings.dat": b""})
    with pytest.raises(InputError):
        read(place, tmp_path / "scratch")
    place = write(tmp_path / "c", {**files("ml-100k"), "u.genre": b"Action|7\n"})
    with pytest.raises(InputError, match="genres"):
        read(place, tmp_path / "scratch")


def test_a_list_of_movies_in_utf8_is_told_from_latin1(tmp_path):
    bodies = files("ml-1m")
    bodies["movies.dat"] = bodies["movies.dat"].decode("latin-1").encode()
    raw = read(write(tmp_path / "data", bodies), tmp_path / "scratch")
    assert raw.items.collect()["title"][0] == MOVIES[0][1]
    assert raw.stated["movies.dat"]["encoding"] == "UTF-8"


def test_a_bomb_in_the_place_of_a_release_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "RATIO_FROM", 1000)
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("ml-1m/ratings.dat", b"0" * 1_000_000)
        made.writestr("ml-1m/movies.dat", b"1::A::B")
    with pytest.raises(InputError, match="no published file"):
        read(tmp_path / "ml-1m.zip", tmp_path / "scratch")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=30).map(lambda line: line.translate(None, b"\r\n")), max_size=6))
def test_every_line_of_ml_1m_ends_as_one_row(lines):
    with tempfile.TemporaryDirectory() as folder:
        rating, movie = (files("ml-1m")[name].splitlines()[0] for name in ("ratings.dat", "movies.dat"))
        # The good line comes first: polars takes a file that begins with gzip's two bytes for a packed one.
        bodies = {"ratings.dat": [rating, *lines], "movies.dat": [movie, *lines]}
        place = write(Path(folder) / "data", {name: b"\n".join(body) + b"\n" for name, body in bodies.items()})
        raw = read(place, Path(folder) / "scratch")
        for table in (raw.interactions.collect(), raw.items.collect()):
            assert table["row"].to_list() == list(range(len(lines) + 1))
            assert set(table["fault"].drop_nulls()) <= set(FAULTS)
        assert raw.interactions.filter(pl.col("user_id") == "1", pl.col("rating") == 2.5).collect().height >= 1
