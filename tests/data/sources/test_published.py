"""Which files make a published data set, and what is said when one is missing."""

import pytest

from rporec.data.sources import published
from rporec.errors import InputError


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return str(folder)


def names(found):
    return [file.name for file in found.files()]


MINI = ("train/A_5.csv", "valid/A_5.csv", "test/A_5.csv", "index/A.item.json")


@pytest.mark.parametrize("kind", published.PAGES)
def test_no_place_a_remote_place_and_an_absent_place_are_refused(kind, tmp_path):
    for place in (None, "s3://bucket/folder", str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match="published data") as caught:
            published.find(kind, place)
        assert "make run DATA=" in caught.value.cure
        assert caught.value.rule == published.HOLDS[kind]


def test_a_published_folder_is_no_file(tmp_path):
    put(tmp_path, "x.csv")
    with pytest.raises(InputError, match="is a file"):
        published.find("minionerec", str(tmp_path / "x.csv"))


def test_amazon_takes_both_kinds_of_each_category_in_one_folder_or_two(tmp_path):
    place = put(tmp_path, "B.jsonl", "meta_B.jsonl.gz", "review_categories/A.jsonl.gz", "meta_categories/meta_A.jsonl",
                "README.txt", ".hidden.jsonl", "part.csv")  # fmt: skip
    found = published.find("amazon_reviews_2023", place)
    assert [file.name for file in found.tables["reviews"]] == ["review_categories/A.jsonl.gz", "B.jsonl"]
    assert [file.name for file in found.tables["items"]] == ["meta_categories/meta_A.jsonl", "meta_B.jsonl.gz"]
    assert names(found) == sorted(names(found))


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        (["A.jsonl.gz"], "meta_A.jsonl.gz"),
        (["meta_A.jsonl.gz"], "A.jsonl.gz"),
        (["A.jsonl", "meta_A.jsonl", "meta_B.jsonl"], "B.jsonl.gz"),
        (["notes.txt"], "<Category>.jsonl.gz"),
    ],
)
def test_amazon_names_the_missing_file_and_its_page(there, missing, tmp_path):
    with pytest.raises(InputError) as caught:
        published.find("amazon_reviews_2023", put(tmp_path, *there))
    assert caught.value.file == f"{tmp_path}/{missing}"
    assert "https://amazon-reviews-2023.github.io/" in caught.value.cure
    assert "nothing is downloaded" in caught.value.cure


def test_amazon_refuses_one_file_twice(tmp_path):
    with pytest.raises(InputError, match="twice") as caught:
        published.find("amazon_reviews_2023", put(tmp_path, "A.jsonl", "A.jsonl.gz", "meta_A.jsonl"))
    assert caught.value.value == ["A.jsonl", "A.jsonl.gz"]


@pytest.mark.parametrize(
    ("form", "there"),
    [("ml-100k", ["u.data", "u.item", "u.genre"]), ("ml-1m", ["ratings.dat", "movies.dat"]),
     ("ml-32m", ["ratings.csv", "movies.csv"])],
)  # fmt: skip
def test_movielens_is_found_in_its_folder_and_in_the_one_above(form, there, tmp_path):
    put(tmp_path, *(f"{form}/{name}" for name in [*there, "README", "users.dat", "links.csv"]))
    inside, above = (published.find("movielens", str(place)) for place in (tmp_path / form, tmp_path))
    assert inside.form == above.form == form
    assert names(inside) == sorted(there)
    assert names(above) == sorted(f"{form}/{name}" for name in there)


@pytest.mark.parametrize("gone", ["u.data", "u.item", "u.genre"])
def test_movielens_names_the_missing_file(gone, tmp_path):
    there = {"u.data", "u.item", "u.genre"} - {gone}
    with pytest.raises(InputError, match="missing") as caught:
        published.find("movielens", put(tmp_path, *there))
    assert caught.value.file == f"{tmp_path}/{gone}"
    assert "https://grouplens.org/datasets/movielens/" in caught.value.cure


def test_movielens_refuses_several_releases_and_none(tmp_path):
    put(tmp_path, "ml-1m/ratings.dat", "ml-1m/movies.dat", "ml-32m/ratings.csv", "ml-32m/movies.csv")
    with pytest.raises(InputError, match="several") as caught:
        published.find("movielens", str(tmp_path))
    assert caught.value.value == ["ml-1m/ratings.dat", "ml-32m/ratings.csv"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="missing"):
        published.find("movielens", str(tmp_path / "empty"))


def test_movielens_as_a_zip_file_by_its_name_or_in_its_folder(tmp_path):
    put(tmp_path, "ml-1m.zip")
    for place in (tmp_path, tmp_path / "ml-1m.zip"):
        found = published.find("movielens", str(place))
        assert found.form == published.ZIP
        assert names(found) == ["ml-1m.zip"]


def test_minionerec_takes_one_category_and_the_test_file_only_where_it_is_wanted(tmp_path):
    place = put(tmp_path, *MINI)
    assert names(published.find("minionerec", place)) == sorted(MINI)
    assert names(published.find("minionerec", place, "development")) == sorted(set(MINI) - {"test/A_5.csv"})
    (tmp_path / "test/A_5.csv").unlink()
    assert "test" not in published.find("minionerec", place).tables
    assert "test" not in published.find("minionerec", place, "development").tables
    with pytest.raises(InputError, match="missing") as caught:
        published.find("minionerec", place, "official")
    assert caught.value.file == f"{tmp_path}/test/<Category>.csv"


@pytest.mark.parametrize("gone", ["train/A_5.csv", "valid/A_5.csv", "index/A.item.json"])
def test_minionerec_names_the_missing_file(gone, tmp_path):
    place = put(tmp_path, *(name for name in MINI if name != gone))
    with pytest.raises(InputError, match="missing") as caught:
        published.find("minionerec", place)
    assert str(caught.value.file).startswith(f"{tmp_path}/{gone.split('/')[0]}/<Category>")
    assert published.PAGES["minionerec"] in caught.value.cure


def test_minionerec_names_the_categories_of_which_one_may_stay(tmp_path):
    with pytest.raises(InputError, match="several categories") as caught:
        published.find("minionerec", put(tmp_path, *MINI, "train/B_5.csv"))
    assert caught.value.value == ["A_5.csv", "B_5.csv"]
    assert "keep the files of one category" in caught.value.cure
