"""An older package on tonight's rows: as it serves, with items matched by id."""

from pathlib import Path

import numpy as np
import pytest

from rporec.evaluation.metrics import rank_targets
from rporec.evaluation.rescore import rank_package
from rporec.evaluation.scoring import TestSet
from rporec.recommender import Recommender
from tests.release import world


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    root = tmp_path_factory.mktemp("served")
    world.write_outputs(root)
    world.write_package(root / "package", root)
    return Recommender.load(root / "package")


@pytest.fixture
def test_set() -> TestSet:
    return TestSet.from_rows(world.rows("test", 12, 5, 0))


def test_scores_are_those_that_the_service_gives(served: Recommender, test_set: TestSet) -> None:
    asked = [served.probabilities(history, served.write_reasoning([history])[0]) for history in test_set.histories]
    wanted = rank_targets(np.stack(asked), test_set.group_pos, test_set.targets)
    found = rank_package(served, test_set, served.catalogue.item_ids, "it").ranks
    assert found.above.tolist() == wanted.above.tolist()


def test_another_order_of_the_catalogue_changes_nothing(served: Recommender, test_set: TestSet) -> None:
    ids = served.catalogue.item_ids
    turned = TestSet(
        test_set.groups, [[len(ids) - 1 - item for item in history] for history in test_set.histories],
        test_set.users, test_set.group_pos, len(ids) - 1 - test_set.targets,
    )  # fmt: skip
    one, two = (rank_package(served, *asked, "it").ranks for asked in ((test_set, ids), (turned, ids[::-1])))
    assert one.above.tolist() == two.above.tolist()


def test_items_that_the_package_does_not_know_stand_last_and_an_unknown_history_gets_popularity(
    served: Recommender,
) -> None:
    ids = [*served.catalogue.item_ids, "new-1", "new-2"]
    n = len(served.catalogue.item_ids)
    best = int(np.argmax(served.popularity))
    rows = TestSet([0, 1], [[n], [0]], ["a", "b"], np.array([0, 1]), np.array([best, n]))
    found = rank_package(served, rows, ids, "it").ranks
    assert found.above.tolist() == [0, n]
    assert found.ties[1] == 1


def test_no_rows_are_no_ranks(served: Recommender, tmp_path: Path) -> None:
    found = rank_package(served, TestSet.from_rows(world.rows("test", 0, 0, 0)), ["x"], "it")
    assert len(found.values) == 0
    assert found.well_formed is None


def test_the_share_of_well_formed_reasoning_is_that_of_the_texts_that_users_get(
    served: Recommender, test_set: TestSet
) -> None:
    found = rank_package(served, test_set, served.catalogue.item_ids, "it")
    texts = [served.write_reasoning([history])[0].well_formed for history in test_set.histories]
    assert found.well_formed == pytest.approx(sum(texts) / len(texts))
