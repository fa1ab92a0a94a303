"""Several processes: the launcher's files fit, and two processes on the CPU train as one does."""

import json
import os
import subprocess

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from safetensors.torch import load_file
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from infra.children import end
from rporec.align.sharded import whole
from rporec.align.together import launch_command, train_together
from rporec.backbone.generate import Sampling, generate_ids
from rporec.config import AlignParams
from rporec.errors import InputError
from tests.align import runs, world
from tests.align.apart import in_a_process
from tests.backbone.models import qwen3
from tests.project import ROOT

FILES = ROOT / "infra" / "accelerate"
ONE = {"steps": 3, "eval_every": 2, "checkpoint_every": 2, "micro_batch": 16, "learning_rate": 0.01}
TWO = ONE | {"processes": 2, "micro_batch": 8}


def test_each_way_has_its_file():
    ways = AlignParams.model_json_schema()["properties"]["parallel"]["enum"]
    assert {path.stem for path in FILES.glob("*.yaml")} == set(ways)


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_the_launcher_takes_its_file(way):
    command = launch_command(runs.small(**TWO, parallel=way), FILES / f"{way}.yaml", "steps.align")
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(command[3:]))
    assert (args.multi_gpu, args.use_fsdp) == (way == "ddp", way == "fsdp")
    assert (args.num_processes, args.num_machines, args.mixed_precision) == (2, 1, "no")
    assert (args.module, args.training_script) == (True, "steps.align")
    assert args.main_process_port == 0
    raw = yaml.safe_load((FILES / f"{way}.yaml").read_text())
    assert type(defaults) is type(load_config_from_file(str(FILES / f"{way}.yaml")))
    assert raw.get("fsdp_config", {}).get("fsdp_version", 2) == 2
    if way == "fsdp":
        assert (args.fsdp_version, args.fsdp_auto_wrap_policy) == (2, "TRANSFORMER_BASED_WRAP")


def test_a_way_that_cannot_be_gone_is_refused(tmp_path):
    params = runs.small(**TWO)
    with pytest.raises(InputError, match="file is missing") as error:
        train_together(params, "cpu", tmp_path, "steps.align")
    assert error.value.field == "align.parallel"
    with pytest.raises(InputError, match="does not shard") as error:
        train_together(runs.small(**TWO, parallel="fsdp"), "cpu", ROOT, "steps.align")
    assert error.value.rule == "ddp with run.device cpu"


def test_a_run_that_wants_other_processes_is_refused(tmp_path):
    world.write_backbone(tmp_path / "backbone", steps=0)
    with pytest.raises(InputError, match="another number of processes") as error:
        runs.run(tmp_path / "backbone", tmp_path / "work", runs.small(**TWO))
    assert (error.value.field, error.value.value) == ("align.processes", 2)


@pytest.mark.platform
def test_processes_that_fail_are_told_of():
    with pytest.raises(InputError, match="did not come to an end") as error:
        train_together(runs.small(**TWO), "cpu", ROOT, "no.such.module")
    assert error.value.field == "align.processes"


def told(row):
    return {name: value for name, value in row.items() if value is not None}


def write_sharded(rank, folder):
    """Sample a number of times that no other process shares, from weights of which this process has a half."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = qwen3().model
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    settings = Sampling(num_samples=2, temperature=1.0, max_new_tokens=5, batch_size=4, seed=3)
    with whole(model):
        drawn = [generate_ids(model, [[5, 6, 7], [8, 9]], [0, 1], 2, settings) for _ in range(1 + 2 * rank)]
    assert isinstance(model.lm_head.weight, DTensor), "the weights are apart again"
    ids = [[one.ids for one in samples] for samples in drawn[-1]]
    (folder / f"{rank}.json").write_text(json.dumps(ids))
    torch.distributed.destroy_process_group()


@pytest.mark.platform
def test_each_process_samples_alone_from_weights_that_lie_in_parts(tmp_path):
    processes = [in_a_process(write_sharded, rank, tmp_path) for rank in range(2)]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    settings = Sampling(num_samples=2, temperature=1.0, max_new_tokens=5, batch_size=4, seed=3)
    drawn = generate_ids(qwen3().model, [[5, 6, 7], [8, 9]], [0, 1], 2, settings)
    wanted = [[one.ids for one in samples] for samples in drawn]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [wanted, wanted]


@pytest.mark.platform
@pytest.mark.parametrize("changes", [{}, {"zero_variance": "skip"}, {"lora_rank": 2}])
def test_two_processes_train_as_one_does(tmp_path, changes):
    torch.set_num_threads(1)
    world.write_backbone(tmp_path / "backbone")
    alone = runs.run(tmp_path / "backbone", tmp_path / "one", runs.small(**ONE, **changes))
    params = runs.small(**TWO, **changes)
    command = launch_command(params, FILES / f"{params.parallel}.yaml", "tests.align.part")
    given = [str(tmp_path / "backbone"), str(tmp_path / "two"), json.dumps(TWO | changes)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, *given], cwd=ROOT, env=env, start_new_session=True)
    try:
        assert process.wait(900) == 0
    finally:
        end(process)
    together = runs.run(tmp_path / "backbone", tmp_path / "two", params)
    assert together.best == alone.best
    assert [one["completion"] for one in together.rollouts] == [one["completion"] for one in alone.rollouts]
    for left, right in zip(together.rows, alone.rows, strict=True):
        assert told(left) == pytest.approx(told(right), rel=1e-3, abs=1e-5)
        assert left.keys() == right.keys()
    weights = load_file(alone.folder / "model.safetensors")
    for name, one in load_file(together.folder / "model.safetensors").items():
        assert torch.allclose(one, weights[name], atol=1e-3), name
    assert not list((tmp_path / "two").rglob("*.pt*"))
