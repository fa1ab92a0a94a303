"""A run killed with SIGKILL at any moment ends with the bytes of an undisturbed one, and leaves no pickle behind."""

import os
import pathlib
import pickletools
import random
import shutil
import signal
import time
import zipfile

import pytest
import torch

from rporec.align import checkpoints, heldout, plain, trainer
from rporec.backbone import generate
from rporec.errors import InputError
from rporec.files import sha256_path
from tests.align import runs, world
from tests.align.apart import in_a_process
from tests.waiting import until

# In the order in which a run meets them: a function, its call that dies, whether that has done its work, and the name
# of the path that it is called with, where that matters.
MOMENTS = {
    "the first held-out check": (heldout.HeldOut, "check", 1, False, None),
    "sampling": (generate, "pick", 20, True, None),
    "a checkpoint, before the optimizer": (plain, "save_optimizer", 1, False, None),
    "a checkpoint, before its marker": (plain, "mark_whole", 1, False, None),
    "the best being written": (trainer, "save_policy", 1, True, None),
    "the best being replaced": (pathlib.Path, "rename", 1, False, "best.new"),
    "scoring": (trainer.RewardScorer, "score", 3, False, None),
    "an optimizer step": (torch.optim.AdamW, "step", 1, True, None),
    "a later held-out check": (heldout.HeldOut, "check", 1, True, None),
    "the last checkpoint": (plain, "save_random", 1, True, None),
    "the end": (checkpoints, "drop", 1, False, "checkpoints"),
}


def dies(backbone, work, moment):
    owner, name, call, done, path = MOMENTS[moment]
    real, calls = getattr(owner, name), []

    def counting(*given, **named):
        if path is not None and given[0].name != path:
            return real(*given, **named)
        calls.append(name)
        result = real(*given, **named) if done or len(calls) < call else None
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, counting)
    runs.run(backbone, work, runs.small(**runs.CHECKPOINTED))


def test_a_run_that_is_killed_at_every_moment_ends_with_the_same_bytes(backbone, checkpointed, tmp_path):
    for moment in MOMENTS:
        process = in_a_process(dies, backbone, tmp_path / "work", moment)
        process.join(300)
        assert process.exitcode == -signal.SIGKILL, moment
    resumed = runs.run(backbone, tmp_path / "work", runs.small(**runs.CHECKPOINTED))
    assert resumed.rows == checkpointed.rows
    assert resumed.rollouts == checkpointed.rollouts
    assert sha256_path(resumed.folder) == sha256_path(checkpointed.folder)


@pytest.mark.parametrize(
    "changes", [{}, {"lora_rank": 2}, {"zero_variance": "skip"}], ids=["as set", "adapters", "groups left out"]
)
def test_a_run_that_is_killed_at_a_random_moment_ends_with_the_same_bytes(backbone, tmp_path, changes):
    params = runs.small(**{**runs.CHECKPOINTED, **changes, "steps": 12})
    wanted = runs.run(backbone, tmp_path / "undisturbed", params)
    draw = random.SystemRandom()
    step, more = draw.randrange(8), draw.uniform(0, 0.1)
    process = in_a_process(runs.run, backbone, tmp_path / "killed", params)
    until("the step", (tmp_path / "killed/journal" / f"{step:06d}.json").exists, pause=0.002)
    time.sleep(more)
    process.kill()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL, "the run was over before it was killed"
    resumed = runs.run(backbone, tmp_path / "killed", params)
    assert resumed.rows == wanted.rows, f"killed {more:.3f} s after step {step}"
    assert sha256_path(resumed.folder) == sha256_path(wanted.folder), f"killed {more:.3f} s after step {step}"


def is_pickle(path):
    """Whether a file's content is a pickle, or a zip archive with one, as torch writes them."""
    if zipfile.is_zipfile(path):
        return any(name.endswith(".pkl") for name in zipfile.ZipFile(path).namelist())
    try:
        return sum(1 for _ in pickletools.genops(path.read_bytes())) > 1
    except Exception:  # noqa: BLE001 - whatever it stumbles over, it is no pickle
        return False


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_neither_a_checkpoint_nor_what_is_left_holds_a_pickle(backbone, checkpointed, tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "harmless.json")
    assert is_pickle(tmp_path / "harmless.json"), "the scan looks at content"
    runs.run_until(3, backbone, tmp_path / "work", runs.small(**runs.CHECKPOINTED))
    kept = files_of(tmp_path / "work" / "checkpoints" / "checkpoint-2")
    assert {"model.safetensors", "optimizer.safetensors", "random_0.safetensors"} <= {path.name for path in kept}
    left = files_of(checkpointed.folder.parent)
    assert {path.suffix for path in left} == {".json", ".safetensors"}
    assert not (checkpointed.folder.parent / "checkpoints").exists()
    assert [path for path in [*kept, *left] if is_pickle(path)] == []


def test_random_states_go_on_where_they_were(tmp_path):
    plain.save_random(tmp_path / "state")
    drawn = [random.random(), float(torch.rand(1)), float(world.np.random.rand())]
    plain.load_random(tmp_path / "state")
    assert [random.random(), float(torch.rand(1)), float(world.np.random.rand())] == drawn


@pytest.mark.parametrize("change", ["parameters", "backbone", "Rechead", "no record"])
def test_checkpoints_of_another_run_are_refused(backbone, tmp_path, change):
    params, setup = runs.small(**runs.CHECKPOINTED), world.setup(backbone, tmp_path)
    first = {"align": params.model_dump(mode="json"), "backbone": sha256_path(backbone), "rechead": "a1"}
    checkpoints.claim(setup.work, first)
    checkpoints.claim(setup.work, first)
    (setup.work / "journal").mkdir()
    second, named = {
        "parameters": (first | {"align": {**first["align"], "beta": 0.5}}, "align.beta"),
        "backbone": (first | {"backbone": "other"}, "backbone"),
        "Rechead": (first | {"rechead": "b2"}, "rechead"),
        "no record": (first, "align.beta"),
    }[change]
    if change == "no record":
        (setup.work / "run.json").unlink()
    with pytest.raises(InputError, match="other parameters or inputs") as error:
        checkpoints.claim(setup.work, second)
    assert named in error.value.field
    assert error.value.file == setup.work
    assert "remove the folder" in error.value.cure


def test_a_run_refuses_what_another_rechead_or_learning_rate_left(backbone, tmp_path):
    runs.run_until(3, backbone, tmp_path, runs.small(**runs.CHECKPOINTED))
    kept = sha256_path(tmp_path)
    with pytest.raises(InputError) as error:
        runs.run(backbone, tmp_path, runs.small(**runs.CHECKPOINTED, learning_rate=0.01))
    assert (error.value.field, error.value.value, error.value.rule) == ("align.learning_rate", "0.002", "0.01")
    with pytest.raises(InputError) as error:
        runs.run(backbone, tmp_path, runs.small(**runs.CHECKPOINTED), made_of={"rechead": "b2"})
    assert error.value.field == "rechead"
    assert sha256_path(tmp_path) == kept


def test_a_run_refuses_a_best_policy_that_was_replaced(backbone, checkpointed, tmp_path):
    shutil.copytree(checkpointed.folder.parent, tmp_path / "work")
    path = tmp_path / "work" / "best" / "tokenizer.json"
    path.write_text(path.read_text().replace('"lamp"', '"lampe"'))
    with pytest.raises(InputError, match="tokenizer is not the backbone's"):
        runs.run(backbone, tmp_path / "work", runs.small(**runs.CHECKPOINTED))
