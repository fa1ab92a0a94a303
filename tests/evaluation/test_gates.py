"""Truth tables of the gates, and the error rates that they promise."""

import numpy as np
import pytest

from rporec.evaluation import gates
from rporec.evaluation.gates import Evidence, Gate, ServiceMeasure
from rporec.evaluation.ledger import look_alpha

USERS = 400
HARM = 0.05  # level at which harm is shown
RIVALS = (
    "stage1", "no_reasoning", "reasoning_removed", "shuffled_reasoning", "popularity", "markov", "ease", "sasrec",
    "gsasrec", "fusion",
)  # fmt: skip


def evidence(seed: int = 0, noise: float = 0.05, alpha: float = 0.05, **lead: float) -> Evidence:
    """rporec leads each named ranker by the given mean, all others by 0."""
    rng = np.random.default_rng(seed)
    own = rng.random(USERS)
    values = {name: own - lead.get(name, 0.0) + rng.normal(0, noise, USERS) for name in dict.fromkeys((*RIVALS, *lead))}
    return Evidence({"rporec": own, **values}, np.arange(USERS), alpha, HARM, 500, 0)


@pytest.mark.parametrize(
    ("validation", "leakage", "status"),
    [(True, True, "pass"), (False, True, "fail"), (True, False, "fail"), (False, False, "fail")],
)
def test_data(validation: bool, leakage: bool, status: str) -> None:
    assert gates.data_gate({"passed": validation}, {"passed": leakage}).status == status


@pytest.mark.parametrize(
    ("lead", "status"),
    [
        ({"popularity": 0.1}, "pass"),
        ({"popularity": 0.0}, "fail"),
        ({"popularity": -0.1}, "fail"),
        ({"popularity": 0.1, "markov": -0.05}, "fail"),
        ({"popularity": 0.1, "ease": -0.05}, "fail"),
        ({"popularity": 0.1, "sasrec": -0.05}, "fail"),
        ({"popularity": 0.1, "gsasrec": -0.05}, "fail"),
        ({"popularity": 0.1, "fusion": -0.05}, "fail"),
        ({"popularity": 0.1, "fusion": -0.01}, "pass"),
    ],
)
def test_floor(lead: dict[str, float], status: str) -> None:
    assert gates.floor_gate(evidence(**lead), margin=0.02).status == status


def test_floor_refuses_a_model_of_shuffled_targets() -> None:
    """Such a model ranks at random: chance for it, more for popularity, much more for Markov."""
    rng = np.random.default_rng(0)
    values = {name: (rng.random(USERS) < hit).astype(float) for name, hit in (("rporec", 0.01), ("popularity", 0.05))}
    values |= {name: (rng.random(USERS) < 0.2).astype(float) for name in gates.FLOOR_RIVALS}
    gate = gates.floor_gate(Evidence(values, np.arange(USERS), 0.05, HARM, 500, 0), margin=0.005)
    assert gate.status == "fail"
    assert [check.status for check in gate.checks] == ["fail"] * 6


@pytest.mark.parametrize(
    ("lead", "strict", "status"),
    [
        ({}, False, "pass"),
        ({}, True, "fail"),
        ({"no_reasoning": -0.1}, False, "fail"),
        ({"reasoning_removed": -0.1}, False, "fail"),
        ({"shuffled_reasoning": -0.1}, False, "fail"),
        (
            {"no_reasoning": 0.1, "reasoning_removed": 0.1, "shuffled_reasoning": -0.005},
            True,
            "fail",
        ),  # as good with another user's reasoning
        ({"no_reasoning": 0.1, "reasoning_removed": 0.1, "shuffled_reasoning": 0.1}, True, "pass"),
        (
            {"no_reasoning": 0.1, "reasoning_removed": 0.0, "shuffled_reasoning": 0.1},
            True,
            "fail",
        ),  # the better of both
    ],
)
def test_reasoning(lead: dict[str, float], strict: bool, status: str) -> None:
    assert gates.reasoning_gate(evidence(**lead), margin=0.02, strict=strict).status == status


@pytest.mark.parametrize(
    ("lead", "strict", "status"),
    [(0.0, False, "pass"), (0.0, True, "fail"), (0.1, True, "pass"), (-0.1, False, "fail"), (-0.1, True, "fail")],
)
def test_alignment(lead: float, strict: bool, status: str) -> None:
    assert gates.alignment_gate(evidence(stage1=lead), margin=0.02, strict=strict).status == status


def test_a_policy_that_was_not_shipped_equals_stage1_and_is_no_error() -> None:
    same = evidence(stage1=0.0, noise=0.0)
    assert gates.alignment_gate(same, margin=0.0, strict=False).status == "pass"
    assert gates.alignment_gate(same, margin=0.0, strict=True).status == "fail"


@pytest.mark.parametrize(
    ("lead", "status"),
    [
        ({}, "not_applicable"),
        ({"champion": 0.0}, "pass"),
        ({"champion": -0.1}, "fail"),
        ({"champion": 0.1}, "pass"),
        ({"champion": 0.0, "anchor": -0.1}, "fail"),
    ],
)
def test_champion(lead: dict[str, float], status: str) -> None:
    assert gates.champion_gate(evidence(**lead), margin=0.02).status == status


def test_undecided_keeps_the_champion_and_says_what_could_be_shown() -> None:
    gate = gates.champion_gate(evidence(noise=3.0, champion=0.0), margin=0.001)
    assert gate.status == "fail"
    assert gate.interval is not None
    assert gate.interval[0] < -0.001


@pytest.mark.parametrize(
    ("well_formed", "grounded", "status"),
    [(0.95, 0.9, "pass"), (0.9, 0.8, "pass"), (0.89, 0.9, "fail"), (0.95, 0.79, "fail"), (None, None, "fail")],
)
def test_form(well_formed: float | None, grounded: float | None, status: str) -> None:
    assert (
        gates.form_gate(
            {"well_formed": well_formed, "grounded": grounded, "well_formed as served": 0.95}, 0.9, 0.8
        ).status
        == status
    )


def test_slices_fail_on_one_that_fell_and_hold_still_on_noise() -> None:
    masks = {"all": np.ones(USERS, dtype=bool), "few": np.arange(USERS) < 40}
    assert gates.slices_gate(evidence(), masks, 0.05).status == "not_applicable"
    assert gates.slices_gate(evidence(champion=0.0), masks, 0.05).status == "pass"
    fell = evidence(champion=0.0)
    values = dict(fell.values)
    values["champion"] = values["champion"] + 0.4 * masks["few"]
    gate = gates.slices_gate(Evidence(values, fell.users, 0.05, HARM, 500, 0), {"few": masks["few"]}, 0.05)
    assert gate.status == "fail"
    assert "few" in [check.name for check in gate.checks if check.status == "fail"]


def test_holm_keeps_the_share_of_false_alarms_over_many_slices() -> None:
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        values = {"rporec": rng.normal(0, 1, USERS), "champion": np.zeros(USERS)}
        masks = {f"s{i}": rng.random(USERS) < 0.3 for i in range(10)}
        alarms += gates.slices_gate(Evidence(values, np.arange(USERS), 0.05, HARM, 100, 0), masks, 0.0).status == "fail"
    assert alarms <= 12  # 5 of 100 claimed, each slice alone would give about 30


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ((100, 50, 500), "pass"),
        ((200, 64, 1000), "pass"),
        ((201, 50, 500), "fail"),
        ((100, 65, 500), "fail"),
        ((100, 50, 1001), "fail"),
    ],
)
def test_service(found: tuple[float, float, float], status: str) -> None:
    assert gates.service_gate(ServiceMeasure(*found), ServiceMeasure(200, 64, 1000)).status == status


def test_no_rows_decide_nothing_so_nothing_is_promoted() -> None:
    nothing = Evidence({name: np.zeros(0) for name in ("rporec", *RIVALS)}, np.zeros(0), 0.05, HARM, 100, 0)
    gate = gates.floor_gate(nothing, 0.02)
    assert gate.status == "fail"
    assert "no test rows" in gate.reason
    assert gates.reasoning_gate(nothing, 0.02, strict=False).status == "fail"


RANK = {"fail": 0, "not_applicable": 1, "pass": 2}


@pytest.mark.parametrize("lead", [0.0, -0.002, -0.004, -0.006, -0.01, -0.02, -0.03])
def test_no_later_look_passes_what_an_earlier_one_refused(lead: float) -> None:
    masks = {f"slice{number}": np.arange(USERS) % 4 == number for number in range(4)}
    before = [RANK["pass"]] * 4
    for number in (1, 2, 3, 5, 10, 100, 1000):
        seen = evidence(alpha=look_alpha(0.05, number), shuffled_reasoning=lead, stage1=lead, champion=lead)
        found = (
            gates.reasoning_gate(seen, 0.02, strict=False),
            gates.alignment_gate(seen, 0.02, strict=False),
            gates.champion_gate(seen, 0.02),
            gates.slices_gate(seen, masks, 0.01),
        )
        now = [RANK[gate.status] for gate in found]
        assert all(later <= earlier for later, earlier in zip(now, before, strict=True)), (number, now, before)
        before = now


@pytest.mark.parametrize("users", [0, 1, 4])
def test_a_slice_too_small_to_show_a_fall_does_not_apply(users: int) -> None:
    masks = {"all": np.ones(USERS, dtype=bool), "small": np.arange(USERS) < users}
    gate = gates.slices_gate(evidence(champion=0.0), masks, 0.05)
    assert gate.status == "pass"
    assert {check.name: check.status for check in gate.checks} == {"small": "not_applicable", "all": "pass"}
    assert "too few to show a fall" in gate.reason
    assert gate.observed is not None
    alone = gates.slices_gate(evidence(champion=0.0), {"small": masks["small"]}, 0.05)
    assert alone.status == "not_applicable"


def test_small_slices_do_not_weaken_the_test_of_the_others() -> None:
    """Holm's level is shared among the slices that can show a fall, and only those."""
    masks = {f"small{number}": np.arange(USERS) == number for number in range(50)}
    masks["all"] = np.ones(USERS, dtype=bool)
    rng = np.random.default_rng(0)
    fall = rng.normal(0, 1, USERS)
    fall += -0.1 - fall.mean()  # p of about 0.02: shown alone, not among 51
    seen = Evidence({"rporec": fall, "champion": np.zeros(USERS)}, np.arange(USERS), 0.05, HARM, 500, 0)
    assert gates.slices_gate(seen, masks, 0.0).status == "fail"


@pytest.mark.parametrize("users", [2, 3, 4, 5])
def test_a_handful_of_users_shows_nothing(users: int) -> None:
    """Two or three of an equal pair agree often enough: "better" was claimed of every eighth."""
    claimed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        gain = rng.uniform(0.9, 1.0, users) * rng.choice([-1.0, 1.0], users)
        seen = Evidence({"rporec": gain, "other": np.zeros(users)}, np.arange(users), 0.0304, HARM, 99, 0)
        claimed += gates.better(seen, "other").status == "pass"
    assert claimed <= 5
    told = gates.better(seen, "other")
    assert told.reason == f"must beat other: {users} users, too few to show anything"


def gate_of(status: str) -> Gate:
    return Gate("some", status, None, None, None, "because")


@pytest.mark.parametrize(
    ("statuses", "word"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "not_applicable"], "pass"),
        (["pass", "fail"], "fail"),
        (["not_applicable"], "fail"),
        ([], "fail"),
    ],
)
def test_verdict(statuses: list[str], word: str) -> None:
    assert gates.verdict([gate_of(status) for status in statuses]).verdict == word


def test_every_reason_is_told_when_several_checks_fail() -> None:
    gate = gates.form_gate({"well_formed": 0.1, "grounded": 0.1}, 0.9, 0.8)
    assert "well_formed" in gate.reason
    assert "grounded" in gate.reason


@pytest.mark.parametrize(
    ("own", "champions", "status"),
    [("2026-01-02", "2026-01-02", "pass"), ("2026-01-01", "2026-01-02", "fail"), ("", "2026-01-02", "pass")],
)
def test_data_older_than_the_champions_fail_by_name(own: str, champions: str, status: str) -> None:
    gate = gates.data_gate({"passed": True}, {"passed": True}, (own, champions))
    assert gate.status == status
    if status == "fail":
        assert gate.reason == "the data go up to 2026-01-01, the champion's up to 2026-01-02"


@pytest.mark.parametrize(("served", "status"), [(0.9, "pass"), (0.89, "fail"), (None, "fail")])
def test_texts_that_break_only_when_served_fail_the_form(served: float | None, status: str) -> None:
    form = {"well_formed": 0.95, "grounded": 0.9, "well_formed as served": served}
    assert gates.form_gate(form, 0.9, 0.8).status == status


def test_every_comparison_tells_the_smallest_difference_that_could_be_shown() -> None:
    gate = gates.champion_gate(evidence(champion=0.0), 0.02)
    assert gate.smallest_detectable is not None
    assert 0.003 < gate.smallest_detectable < 0.02
    assert gate.checks[0].smallest_detectable == gate.smallest_detectable
