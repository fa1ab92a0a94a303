"""Every choice of the loss reaches TRL and changes it; a vLLM server is mapped, and refused where it cannot serve."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
import yaml
from trl.trainer.grpo_config import GRPOConfig

from infra.children import free_port
from rporec import config
from rporec.align.settings import grpo_config
from rporec.align.vllm import require_server
from rporec.errors import InputError
from tests.align import world
from tests.align.test_passes import PROMPTS, ROWS, G, Ours, Scores
from tests.backbone.models import qwen3
from tests.project import ROOT

BASE = {
    "prompts_per_step": 8, "num_generations": G, "micro_batch": 8, "beta": 0.1, "temperature": 0.7,
    "top_entropy_quantile": 0.5, "epsilon": 0.2, "loss_type": "grpo", "scale_rewards": "group",
}  # fmt: skip


class OffPolicy(Ours):
    """As if the policy had moved since it sampled: without that no ratio leaves the clip's range."""

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        noise = torch.randn(output["completion_mask"].shape, generator=torch.Generator().manual_seed(5))
        output["old_per_token_logps"] = output["ref_per_token_logps"] + 0.3 * noise
        return output


def loss(untaught, work, **changes):
    params = world.align_params(**{**BASE, **changes})
    prompts = [(row["group"], row["prompt"]) for row in ROWS[::G]]
    policy = OffPolicy(params, world.setup(untaught, work), prompts, qwen3().tokenizer, Scores())
    policy.current_gradient_accumulation_steps = parts = policy.args.gradient_accumulation_steps
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight += 0.02 * weight.std(correction=0) * torch.randn_like(weight)
    return sum(float(policy.training_step(policy.model, ROWS, None)) for _ in range(parts))


@pytest.fixture(scope="module")
def base_loss(untaught, tmp_path_factory):
    return loss(untaught, tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss_type", "bnpo"), ("loss_type", "dr_grpo"), ("loss_type", "dapo"), ("scale_rewards", "batch"),
        ("scale_rewards", "none"), ("epsilon", 0.05), ("beta", 0.3), ("top_entropy_quantile", 0.2),
        ("temperature", 1.0),
    ],
)  # fmt: skip
def test_a_choice_reaches_trl_and_changes_the_loss(untaught, base_loss, tmp_path, name, value):
    args = grpo_config(world.align_params(**{**BASE, name: value}), world.setup(tmp_path, tmp_path))
    assert vars(args)[name] == value
    assert loss(untaught, tmp_path, **{name: value}) != pytest.approx(base_loss, rel=1e-3)


def test_the_loss_does_not_change_by_itself(untaught, base_loss, tmp_path):
    assert loss(untaught, tmp_path) == pytest.approx(base_loss, rel=1e-6)


def test_the_rest_reaches_trl(tmp_path):
    params = world.align_params(processes=2, micro_batch=4, learning_rate=0.003, num_generations=2)
    args = grpo_config(params, world.setup(tmp_path, tmp_path))
    assert (args.learning_rate, args.num_generations, args.max_steps) == (0.003, 2, 6)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (4, 1)  # 4 prompts x 2 by 2


def vllm(url, timeout=5.0):
    return {"url": url, "timeout": timeout, "group_port": 51999}


def test_a_server_is_mapped(tmp_path):
    params = world.align_params(vllm=vllm("http://localhost:8123", 7.0))
    args = grpo_config(params, world.setup(tmp_path, tmp_path))
    assert (args.use_vllm, args.vllm_mode, args.vllm_server_base_url) == (True, "server", "http://localhost:8123")
    assert (args.vllm_server_timeout, args.vllm_group_port) == (7.0, 51999)
    assert not grpo_config(world.align_params(), world.setup(tmp_path, tmp_path)).use_vllm
    assert isinstance(args, GRPOConfig)


@pytest.fixture
def server():
    """A server on loopback that answers /health as it is told."""

    class Health(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self):
            self.send_response(self.status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    running = HTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield Health, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def refused(url):
    with pytest.raises(InputError) as error:
        require_server(config.VllmParams(**vllm(url)))
    assert error.value.field == "align.vllm.url"
    assert error.value.rule
    assert "null" in error.value.cure
    return str(error.value)


def test_a_server_that_is_not_there_or_not_well_is_refused(server):
    health, url = server
    assert "does not answer" in refused(f"http://127.0.0.1:{free_port()}")
    health.status = 503
    assert "503" in refused(url)
    require_server(config.VllmParams(**vllm(None)))


def test_a_machine_without_the_package_is_refused(server):
    pytest.importorskip("trl")
    if require_server.__globals__["is_vllm_available"]():
        pytest.skip("vllm is installed here")
    assert "vllm is not installed" in refused(server[1])


def test_what_a_server_samples_is_scored_with_the_policys_entropies(untaught, tmp_path):
    """The server itself needs a GPU; in its place completions that are known."""

    class Served:
        def sync_weights(self):
            pass

        def generate(self, prompts, **_):
            return None, [[5, 6, 7][: 1 + row % 3] for row in range(len(prompts))], [
                [[-1.0]] * (1 + row % 3) for row in range(len(prompts))
            ], None  # fmt: skip

    class Asked(Ours):
        _tokenize_prompts = Ours.__mro__[1]._tokenize_prompts
        _generate_single_turn = Ours.__mro__[2]._generate_single_turn

    params = world.align_params(**BASE)
    prompts = [(row["group"], row["prompt"]) for row in ROWS[::G]]
    policy = Asked(params, world.setup(untaught, tmp_path), prompts, qwen3().tokenizer, Scores())
    policy.use_vllm, policy.vllm_generation, policy._last_loaded_step = True, Served(), -1
    asked = [prompt for prompt in PROMPTS for _ in range(G)]
    ids, logprobs = policy._generate_single_turn(asked, None, {}, G)
    assert [len(one) for one in ids] == [len(one) for one in logprobs] == [1 + row % 3 for row in range(len(asked))]
    entropies = policy._entropies(asked, ids)
    assert [len(one) for one in entropies] == [len(one) for one in ids]
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([[*asked[9], *ids[9]]])).logits[0] / policy.temperature
    spread = torch.distributions.Categorical(logits=logits[len(asked[9]) - 1 : -1]).entropy()
    assert entropies[9] == pytest.approx(spread.tolist(), rel=1e-4)
    assert len(policy.batch_entropies) == len(asked)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"weights": {"rank": -0.1}}, "align.weights.rank"),
        (
            {"weights": dict.fromkeys(("format", "outside", "rank", "concise", "similar", "entropy", "grounded"), 0.0)},
            "align.weights",
        ),
        ({"num_generations": 1}, "align.num_generations"),
        ({"prompts_per_step": 4, "num_generations": 3, "micro_batch": 8}, "align.micro_batch"),
        ({"prompts_per_step": 4, "processes": 3}, "align.processes"),
        ({"prompts_per_step": 4, "num_generations": 4, "processes": 2, "micro_batch": 5}, "align.micro_batch"),
        ({"processes": 2, "parallel": "fsdp", "lora_rank": 4}, "align.lora_rank"),
        (
            {"zero_variance": "resample", "vllm": {"url": "http://localhost:1", "timeout": 1.0, "group_port": 2}},
            "align.zero_variance",
        ),
        ({"vllm": {"url": "http://key@localhost:1", "timeout": 1.0, "group_port": 2}}, "align.vllm.url"),
        ({"zero_variance": "drop"}, "align.zero_variance"),
        ({"rounds": 0}, "align.rounds"),
    ],
)
def test_parameters_that_break_a_rule_are_refused(changes, field):
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    weights = raw["align"]["weights"] | changes.get("weights", {})
    raw["align"] |= {**changes, "weights": weights}
    with pytest.raises(InputError) as error:
        config.parse(raw, "params.yaml")
    assert error.value.field == field


def test_a_batch_that_does_not_divide_is_told_with_the_numbers_and_what_would():
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["align"] |= {"prompts_per_step": 4, "num_generations": 3, "micro_batch": 8}
    with pytest.raises(InputError) as error:
        config.parse(raw, "params.yaml")
    told = error.value
    assert (told.file, told.value) == ("params.yaml", "8")
    assert told.rule == (
        "divides the 12 completions of a process, prompts_per_step (4) x num_generations (3) / processes (1)"
    )
    assert told.cure == "take one of 1, 2, 3, 4, 6, 12"
    raw["align"] |= {"micro_batch": 12, "weights": dict.fromkeys(raw["align"]["weights"], 0.0)}
    with pytest.raises(InputError) as error:
        config.parse(raw, "params.yaml")
    assert error.value.value.startswith("0 for all of format, outside, rank")
    assert "align.steps=0" in error.value.cure
