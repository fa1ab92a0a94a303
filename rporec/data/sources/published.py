"""Which files make each published data set, and where it is published. Nothing is ever downloaded.

Light on purpose: the run driver looks here on its no-op path, so nothing here imports polars or torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rporec.data.sources.layout import DataFile, is_remote
from rporec.errors import InputError

PAGES = {
    "amazon_reviews_2023": "https://amazon-reviews-2023.github.io/",
    "movielens": "https://grouplens.org/datasets/movielens/",
    "minionerec": "https://github.com/AkaliKong/MiniOneRec",
}
HOLDS = {
    "amazon_reviews_2023": "a folder with <Category>.jsonl.gz and meta_<Category>.jsonl.gz of each category",
    "movielens": "a folder with u.data, u.item and u.genre (ml-100k), ratings.dat and movies.dat (ml-1m) or "
    "ratings.csv and movies.csv (ml-32m), or the folder above it, or the published zip file",
    "minionerec": "a folder with one train/*.csv, one valid/*.csv, one test/*.csv and one index/*.item.json",
}
ZIP = "zip"
# Role → file name; the first role tells the form.
FORMS: dict[str, dict[str, str]] = {
    "ml-100k": {"ratings": "u.data", "items": "u.item", "genres": "u.genre"},
    "ml-1m": {"ratings": "ratings.dat", "items": "movies.dat"},
    "ml-32m": {"ratings": "ratings.csv", "items": "movies.csv"},
}
_LINES = (".jsonl", ".jsonl.gz")
_META = "meta_"


@dataclass(frozen=True)
class Published:
    """The files of a published data set.

    Args:
        form: which of the set's forms they have (MovieLens: a key of FORMS, or ZIP).
        tables: role → files, each sorted by name.
    """

    form: str
    tables: dict[str, tuple[DataFile, ...]]

    def files(self) -> list[DataFile]:
        """Return all files, sorted by name."""
        return sorted((file for table in self.tables.values() for file in table), key=lambda file: file.name)


def find(kind: str, place: str | None, split: str | None = None) -> Published:
    """Find the files of a published data set.

    Args:
        kind: a key of PAGES.
        place: a folder of this machine, or a zip file (MovieLens).
        split: MiniOneRec alone: `official` needs the test file, `development` leaves it out, None takes it where it is.

    Raises:
        InputError: no place is given, it is missing or remote, or a file is missing or there twice.
    """
    path = _place(kind, place)
    if kind == "amazon_reviews_2023":
        return Published("jsonl", _amazon(path))
    if kind == "minionerec":
        return Published("csv", _minionerec(path, split))
    return _movielens(path)


def missing(kind: str, place: object, name: str) -> InputError:
    """Return the error of a file that is not there."""
    return InputError(
        "a file of a published data set is missing",
        file=f"{place}/{name}", rule=HOLDS[kind],
        cure=f"download it from {PAGES[kind]} and put it there (nothing is downloaded for you)",
    )  # fmt: skip


def movielens_form(names: list[str], place: object) -> tuple[str, dict[str, str]]:
    """Return the form of a MovieLens release and the name of each role's file.

    Args:
        names: files of a folder or members of a zip file, at most one folder deep.
        place: named in errors.

    Raises:
        InputError: no release, a release that is not whole, or several of them.
    """
    found = _releases(names)
    if len(found) > 1:
        raise InputError(
            "several MovieLens releases stand in one place",
            file=place, value=[name for name, _ in found], rule="one release a run",
            cure="keep one, or give its own folder: make run DATA=<folder>",
        )  # fmt: skip
    if not found:
        raise missing("movielens", place, "ratings.csv")
    marker, form = found[0]
    folder = PurePosixPath(marker).parent
    roles = {role: (folder / name).as_posix() for role, name in FORMS[form].items()}
    for name in roles.values():
        if name not in names:
            raise missing("movielens", place, name)
    return form, roles


def _releases(names: list[str]) -> list[tuple[str, str]]:
    """Return the releases (a file, its form) that stand in the place itself, else those of its ml-* folders."""
    present = set(names)
    known = [
        (name, form)
        for form, roles in FORMS.items()
        for folder in sorted({PurePosixPath(name).parent for name in names})
        for name in [(folder / roles["ratings"]).as_posix(), (folder / roles["items"]).as_posix()]
        if name in present
    ]
    here = [(name, form) for name, form in known if "/" not in name]
    below = [(name, form) for name, form in known if name.startswith("ml-")]
    whole: dict[tuple[PurePosixPath, str], tuple[str, str]] = {}
    for name, form in here or below:
        whole.setdefault((PurePosixPath(name).parent, form), (name, form))
    return list(whole.values())


def _movielens(path: Path) -> Published:
    if path.is_file():
        return Published(ZIP, {ZIP: (DataFile(path.name, str(path)),)})
    names = _names(path)
    zips = [name for name in names if name.startswith("ml-") and name.endswith(".zip")]
    if len(zips) == 1 and not _releases(names):
        return Published(ZIP, {ZIP: (DataFile(zips[0], str(path / zips[0])),)})
    form, roles = movielens_form(names, path)
    return Published(form, {role: (DataFile(name, str(path / name)),) for role, name in roles.items()})


def _amazon(path: Path) -> dict[str, tuple[DataFile, ...]]:
    """Return reviews and items, one file a category each."""
    kind = "amazon_reviews_2023"
    found: dict[str, str] = {}
    for name in _names(path):
        ending = next((ending for ending in reversed(_LINES) if name.endswith(ending)), None)
        if ending is None:
            continue
        stem = PurePosixPath(name).name.removesuffix(ending)
        if stem in found:
            raise InputError(
                "one file of a category stands there twice",
                file=path, field=stem, value=[found[stem], name], rule="one file a category and kind",
                cure=f"remove {name} or {found[stem]}",
            )  # fmt: skip
        found[stem] = name
    categories = sorted({stem.removeprefix(_META) for stem in found})
    for category in categories or ["<Category>"]:
        for stem in (category, _META + category):
            if stem not in found:
                raise missing(kind, path, f"{stem}.jsonl.gz")
    return {
        role: tuple(
            DataFile(found[stem], str(path / found[stem]))
            for stem in sorted(found)
            if stem.startswith(_META) == is_meta
        )
        for role, is_meta in (("reviews", False), ("items", True))
    }


def _minionerec(path: Path, split: str | None) -> dict[str, tuple[DataFile, ...]]:
    names = _names(path)
    roles = {"train": ("train/", ".csv"), "valid": ("valid/", ".csv"), "test": ("test/", ".csv"),
             "items": ("index/", ".item.json")}  # fmt: skip
    tables: dict[str, tuple[DataFile, ...]] = {}
    for role, (folder, ending) in roles.items():
        if role == "test" and split == "development":
            continue
        found = [name for name in names if name.startswith(folder) and name.endswith(ending)]
        if len(found) > 1:
            raise InputError(
                "several categories stand in one MiniOneRec folder",
                file=path, field=folder.rstrip("/"), value=[PurePosixPath(name).name for name in found],
                rule=HOLDS["minionerec"], cure="keep the files of one category in the folder",
            )  # fmt: skip
        if found:
            tables[role] = (DataFile(found[0], str(path / found[0])),)
        elif role != "test" or split == "official":
            raise missing("minionerec", path, f"{folder}<Category>{ending}")
    return tables


def _place(kind: str, place: str | None) -> Path:
    cure = f"download it from {PAGES[kind]} and give its place: make run DATA=<place>"
    if place is None:
        raise InputError(
            "no place of the published data is given",
            field="ingest.source", value=kind, rule=HOLDS[kind], cure=cure,
        )  # fmt: skip
    if is_remote(place):
        raise InputError(
            "published data are read from this machine alone",
            file=place, rule=HOLDS[kind], cure="copy them to this machine: make run DATA=<folder>",
        )  # fmt: skip
    path = Path(place)
    if not path.exists():
        raise InputError("the place of the published data does not exist", file=place, rule=HOLDS[kind], cure=cure)
    if path.is_file() and kind != "movielens":
        raise InputError("the place of the published data is a file", file=place, rule=HOLDS[kind], cure=cure)
    return path


def _names(folder: Path) -> list[str]:
    """Return the names of the visible files of a folder and of its folders, sorted."""
    try:
        found = [
            path.relative_to(folder).as_posix()
            for entry in folder.iterdir()
            for path in (entry.iterdir() if entry.is_dir() and entry.name[0] != "." else [entry])
        ]
    except PermissionError as error:
        raise InputError(
            "the data folder may not be read", file=folder, cure="give this user read permission"
        ) from error
    return sorted(name for name in found if PurePosixPath(name).name[0] not in "._" and (folder / name).is_file())
