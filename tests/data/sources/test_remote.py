"""The object store: a real S3 server of the tests on the loopback, read by s3fs and by Polars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import s3fs
from polars.testing import assert_frame_equal

from infra.children import free_port
from rporec import config
from rporec.data.sources import identity, remote
from rporec.data.sources.base import Bounds, Raw
from rporec.data.sources.folder import FolderSource
from rporec.data.sources.layout import find_layout
from rporec.errors import InputError
from tests.data import shop
from tests.project import ROOT


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _settings(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(
        monkeypatch,
        AWS_ENDPOINT_URL=endpoint,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="hush",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE="/dev/null",
        AWS_SHARED_CREDENTIALS_FILE="/dev/null",
    )
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


def _set(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    _forget()


def _forget() -> None:
    """A process reads the settings once."""
    s3fs.S3FileSystem.clear_instance_cache()
    remote.storage_options.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Interactions as a folder of parquet parts, items as CSV."""
    home = tmp_path / "shop"
    (home / "interactions").mkdir(parents=True)
    rows = shop.events(shop.steady())
    for number in range(3):
        rows.gather_every(3, number).write_parquet(home / "interactions" / f"part-{number}.parquet")
    shop.items().drop("known_from").write_csv(home / "items.csv")
    return home


@pytest.fixture
def place(folder: Path, endpoint: str) -> str:
    return _upload(folder, "rporec-tests")


def _upload(folder: Path, bucket: str) -> str:
    store = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    if not store.exists(bucket):
        store.mkdir(bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.pipe_file(f"{bucket}/deep/{folder.name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"s3://{bucket}/deep/{folder.name}"


def _read(place: str) -> Raw:
    names = config.load(ROOT / "params.yaml").ingest.columns
    return FolderSource(find_layout(place), names).read(Path(), Bounds())


def test_a_folder_reads_the_same_from_a_store_and_from_disk(folder: Path, place: str) -> None:
    far, near = _read(place), _read(str(folder))
    assert_frame_equal(far.interactions.collect(), near.interactions.collect())
    assert_frame_equal(far.items.collect(), near.items.collect())
    late = pl.col("timestamp") >= shop.START + shop.DAY
    assert_frame_equal(far.interactions.filter(late).collect(), near.interactions.filter(late).collect())
    assert (
        remote.names(f"{place}/")
        == remote.names(place)
        == sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    )


def test_a_store_is_told_by_checksums_that_follow_the_content(folder: Path, place: str) -> None:
    params = config.IngestParams(
        **config.load(ROOT / "params.yaml").ingest.model_dump() | {"source": "folder", "as_of": None}
    )
    first = identity.describe(params, place)
    assert [file["name"] for file in first["files"]] == [
        *(f"interactions/part-{n}.parquet" for n in range(3)),
        "items.csv",
    ]
    assert first["files"][3]["bytes"] == (folder / "items.csv").stat().st_size
    assert "hush" not in str(first)
    (folder / "items.csv").write_text((folder / "items.csv").read_text().replace("thing 0", "thinG 0"))
    _upload(folder, "rporec-tests")
    second = identity.describe(params, place)
    assert second["files"][:3] == first["files"][:3]
    assert second["files"][3]["etag"] != first["files"][3]["etag"]


def test_first_bytes(folder: Path, place: str) -> None:
    (folder / "empty.csv").touch()
    _upload(folder, "rporec-tests")
    assert remote.head(f"{place}/items.csv", 7) == b"item_id"
    assert remote.head(f"{place}/items.csv", 1 << 16) == (folder / "items.csv").read_bytes()
    assert remote.head(f"{place}/empty.csv", 7) == b""


def _refusal(place: str) -> str:
    with pytest.raises(InputError) as caught:
        remote.names(place)
    message = caught.value.message()
    assert "cure" in message
    assert "hush" not in message
    return message


def test_missing_places_are_refused(place: str) -> None:
    assert "nothing lies at this place" in _refusal("s3://rporec-tests/elsewhere")
    assert "nothing lies at this place" in _refusal("s3://no-such-bucket/shop")
    for odd in ("gs://bucket/shop", "https://user:hush@host/shop.csv", "s3://"):
        assert "s3://bucket/folder" in _refusal(odd)
    with pytest.raises(InputError, match="nothing lies"):
        remote.checksum(f"{place}/nothing.csv")


def test_no_keys_and_no_store_are_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    _set(monkeypatch, AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    assert "cannot be read" in _refusal(place)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    _forget()
    assert "AWS_ACCESS_KEY_ID" in _refusal(place)


def test_plain_http_only_where_the_endpoint_says_so(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    assert remote.storage_options() == {
        "aws_access_key_id": "key", "aws_secret_access_key": "hush", "aws_region": "us-east-1",
        "aws_endpoint_url": endpoint, "aws_allow_http": "true",
    }  # fmt: skip
    _set(monkeypatch, AWS_ENDPOINT_URL="https://store.example")
    assert remote.storage_options()["aws_allow_http"] == "false"
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    _forget()
    assert remote.storage_options() == {"aws_region": "us-east-1"}
