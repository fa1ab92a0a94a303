"""params.yaml and its schema: every rule bites and every message helps."""

import copy
from pathlib import Path

import pytest
import yaml

from rporec import config
from rporec.errors import InputError

RAW = yaml.safe_load(Path("params.yaml").read_text())


def changed(path, value):
    raw = copy.deepcopy(RAW)
    *sections, leaf = path.split(".")
    place = raw
    for section in sections:
        place = place[section]
    place[leaf] = value
    return raw


def test_the_committed_parameters_are_valid_and_sections_are_found_by_name():
    params = config.load(Path("params.yaml"))
    assert params.section("validate") is params.validate_
    with pytest.raises(KeyError):
        params.section("nothing")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("align.num_generations", 1),
        ("align.num_generations", "8"),
        ("align.weights.rank", -0.1),
        ("align.typo", 1),
        ("backbone.name", "some/model"),
        ("backbone.heads", 5),
        ("backbone.lora_rank", 4),
        ("backbone.teacher.url", "http://localhost:11434/v1"),
        ("backbone.teacher.model", "qwen3"),
        ("backbone.teacher.retries", -1),
        ("backbone.teacher.requests_per_minute", 0.0),
        ("evaluate.cutoffs", [10, 5]),
        ("evaluate.cutoffs", [5, 20]),
        ("evaluate.told_margin", 1.5),
        ("ingest.as_of", "yesterday"),
        ("ingest.as_of", None),
        ("ingest.as_of", "20260101"),
        ("ingest.as_of", "2026-W01-1"),
        ("ingest.as_of", "2026-02-30"),
        ("ingest.price_max", float("inf")),
        ("ingest.rating_min", float("nan")),
        ("ingest.rating_min", 6.0),
        ("ingest.window_days", 10**17),
        ("ingest.source", "sql"),
        ("sequence.valid_days", 10**6),
        ("sequence.split", "dates"),
        ("run.profile", "Has Space"),
        ("sequence.reason_share", 0.0),
        ("serve.default_k", 10_000),
        ("gate.alpha", 0.9),
    ],
)
def test_a_bad_value_names_field_value_rule_and_cure(path, value):
    with pytest.raises(InputError) as caught:
        config.parse(changed(path, value), "params.yaml")
    error = caught.value
    assert error.field.split(".")[0] == path.split(".")[0]
    assert error.rule
    assert error.cure
    assert "Traceback" not in str(error)


@pytest.mark.parametrize(
    ("path", "value"), [("serve.max_reasoning_tokens", 63), ("backbone.max_completion_tokens", 65)]
)
def test_reasoning_that_is_cut_short_when_served_is_refused(path, value):
    """A completion that the gates saw whole would lose its end, and its answer with it."""
    with pytest.raises(InputError, match="able to end as what was judged"):
        config.parse(changed(path, value), "params.yaml")


TEACHER = {"url": "http://localhost:11434/v1", "model": "qwen3"}


def test_a_teacher_and_adapters_need_something_to_tune():
    good = changed("backbone.teacher", {**RAW["backbone"]["teacher"], **TEACHER})
    assert config.parse(good, "params.yaml").backbone.teacher.model == "qwen3"
    good["backbone"] |= {"source": "pretrained", "name": "some/model", "lora_rank": 8}
    assert config.parse(good, "params.yaml").backbone.lora_rank == 8
    good["backbone"]["epochs"] = 0
    with pytest.raises(InputError, match="nothing would be tuned"):
        config.parse(good, "params.yaml")
    good["backbone"]["lora_rank"] = 0
    with pytest.raises(InputError, match="nothing would be learned"):
        config.parse(good, "params.yaml")


@pytest.mark.parametrize(
    "url",
    ["localhost:11434/v1", "ftp://host/v1", "http://me:hush@host/v1", "http://host/v1?key=hush", "http://",
     "http://host:99999/v1", "http://ho st/v1", "http://:80/v1", "http://a..b/v1", f"http://{'a' * 70}/v1",
     "http://xn--/v1", "http://256.256.256.256/v1", "http://a\u200bb/v1", "http://[::1/v1"],
)  # fmt: skip
def test_a_teacher_url_that_cannot_be_or_holds_a_secret_is_refused(url):
    with pytest.raises(InputError) as caught:
        config.parse(changed("backbone.teacher", {**RAW["backbone"]["teacher"], **TEACHER, "url": url}), "params.yaml")
    assert caught.value.field == "backbone.teacher.url"
    assert caught.value.value == url


@pytest.mark.parametrize("url", ["http://a..b", "http://256.256.256.256", f"http://{'a' * 70}:8000/", "http://a:99999"])
def test_a_vllm_url_that_cannot_be_is_refused(url):
    with pytest.raises(InputError) as caught:
        config.parse(changed("align.vllm.url", url), "params.yaml")
    assert caught.value.field == "align.vllm.url"


@pytest.mark.parametrize("host", ["localhost:11434", "[::1]:8000", "10.0.0.7", "münchen.example", "a_b.internal."])
def test_a_teacher_may_live_anywhere_that_can_be_reached(host):
    teacher = {**RAW["backbone"]["teacher"], **TEACHER, "url": f"http://{host}/v1"}
    parsed = config.parse(changed("backbone.teacher", teacher), "params.yaml")
    assert parsed.backbone.teacher.url == f"http://{host}/v1"


def test_all_zero_reward_weights_are_refused():
    with pytest.raises(InputError, match="above 0"):
        config.parse(changed("align.weights", dict.fromkeys(RAW["align"]["weights"], 0.0)), "params.yaml")


def test_a_missing_key_is_an_error_because_there_is_no_second_default():
    raw = copy.deepcopy(RAW)
    del raw["cot"]["samples"]
    with pytest.raises(InputError) as caught:
        config.parse(raw, "params.yaml")
    assert caught.value.field == "cot.samples"
    assert "add the key" in caught.value.cure


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", ""])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        config.load(path)
