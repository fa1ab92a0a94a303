"""A registry in PostgreSQL: aliases by MLflow's client, the audit in a table beside MLflow's own."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from rporec.errors import InputError
from rporec.release import audit, registry, rollback
from rporec.release.listing import versions
from rporec.release.place import Place
from tests import postgres
from tests.release import world
from tests.release.registered import MODEL, held, promote, told

pytestmark = pytest.mark.platform


def test_promotion_and_rollback_leave_their_rows_in_mlflows_database(workspace: Path, tmp_path: Path) -> None:
    with postgres.server() as address:
        url = f"postgresql+psycopg://{postgres.USER}:{quote(postgres.PASSWORD, safe='')}@{address}/postgres"
        place = Place(url, tmp_path / "home")
        place.home.mkdir()
        registry.prepare(place)
        for mark in "ab":
            world.write_package(tmp_path / mark, workspace, mark=mark)
            promote(place, tmp_path / mark)
        rollback.rollback(place, MODEL, rollback.Wish(None, "ada", "complaints"), wait_seconds=0.0)
        assert held(place) == (1, 2, None)
        assert told(place, "champion") == [(None, 1, "promote"), (1, 2, "promote"), (2, 1, "rollback")]
        assert audit.open_moves(place.audit, MODEL) == []
        with pytest.raises(InputError, match="was itself rolled back by ada"):
            rollback.rollback(place, MODEL, rollback.Wish(None, "ada", "again"), wait_seconds=0.0)
        listed = versions(place, MODEL)
        assert [(one.version.number, one.aliases, one.taken_back is None) for one in listed] == [
            (2, ("previous",), False),
            (1, ("champion",), True),
        ]
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT count(*) FROM rporec_audit WHERE act = 'rollback'").fetchone() == (4,)
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                connection.execute("DELETE FROM rporec_audit")
