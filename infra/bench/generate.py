"""How fast completions are written: `make bench-generate`. Prints a JSON line a writer, then the ratio.

`rporec.backbone.generate` against `generate` of transformers: the same float32 model, prompts and sampling
distribution, in turns in one process, each at the batch size that suits it best. The model is the embedded backbone of
the profile industrial, tuned for a minute on a simulated market, so that its completions end by the end token after
about as many tokens as real ones. Tokens are those of completions, the end token included, what is padded behind it
not; encoding and decoding of the texts count on both sides.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import GenerationConfig

from infra.bench.world import World, arguments, make_world, tell
from infra.worktree import find_checkout
from rporec.backbone.generate import Sampling, generate
from rporec.backbone.learn import Material, Means, learn_to_write
from rporec.backbone.source import Writer
from rporec.reasoning.prompt import fit_prompts

SAMPLES = 8  # completions a prompt
Write = Callable[[Writer, Sequence[str], Sampling], int]  # returns the tokens written


def main() -> None:
    """Make the writer, measure both in turns, print what was found."""
    parser = arguments(__doc__, "rounds a batch size")
    parser.add_argument("--prompts", type=int, default=128, help="prompts a round")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024], help="sequences at once, to try")
    parser.add_argument("--examples", type=int, default=3000, help="texts that the model is tuned on")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    world = make_world(find_checkout(Path.cwd()), f"backbone.max_examples={asked.examples} {asked.set}")
    writer = make_writer(world)
    prompts = make_prompts(world, writer, asked.prompts)
    backbone = world.params.backbone
    sampling = Sampling(SAMPLES, 1.0, backbone.max_completion_tokens, 0, world.params.run.seed)
    both: dict[str, Write] = {"rporec": write_here, "transformers": write_plainly}
    tried = {
        batch: measure(both, writer, prompts, replace(sampling, batch_size=batch), asked.rounds)
        for batch in asked.batches
    }
    size = sum(weight.numel() for weight in writer.model.parameters())
    about = {"prompts": len(prompts), "samples": SAMPLES, "parameters": size}
    best = {name: max((tried[batch][name][0], batch) for batch in tried)[1] for name in both}
    for name, batch in best.items():
        speeds = {f"at_{size}": round(found[name][0]) for size, found in tried.items()}
        speed, length = tried[batch][name]
        told = {"tokens_per_s": round(speed), "mean_tokens": round(length, 1), "batch": batch, **speeds, **about}
        tell(f"generate, {name}", told)
    ours, plain = (tried[best[name]][name][0] for name in ("rporec", "transformers"))
    tell("generate, ratio", {"ratio": round(ours / plain, 2)})


def make_writer(world: World) -> Writer:
    """Return the embedded backbone after one pass over composed texts, in float32."""
    train = world.parts["train"]
    material = Material(train, train.clear(), world.catalogue)
    params = world.params.backbone.model_copy(update={"epochs": 1, "dtype": "float32"})
    with tempfile.TemporaryDirectory(prefix="rporec-bench-") as folder:
        means = Means(Path(folder), Path(folder), "cpu")
        return learn_to_write(material, params, world.params.run.seed, means).writer


def make_prompts(world: World, writer: Writer, count: int) -> list[str]:
    """Return the prompts of the first test groups, in their order."""
    params = world.params.backbone
    histories = world.parts["test"]["history"].head(count).to_list()
    budget = writer.prompt_budget(params.max_prompt_tokens, params.max_completion_tokens)
    return fit_prompts(histories, world.catalogue, params.prompt_items, budget, writer.count).prompts


def measure(
    both: dict[str, Write], writer: Writer, prompts: Sequence[str], sampling: Sampling, rounds: int
) -> dict[str, tuple[float, float]]:
    """Return each way's median tokens a second over the rounds, and its mean tokens a completion."""
    speeds: dict[str, list[float]] = {name: [] for name in both}
    tokens = dict.fromkeys(both, 0)
    for write in both.values():  # the first call of anything is slow
        write(writer, prompts[:2], sampling)
    for _ in range(rounds):
        for name, write in both.items():
            started = time.perf_counter()
            written = write(writer, prompts, sampling)
            speeds[name].append(written / (time.perf_counter() - started))
            tokens[name] += written
    written_in_all = rounds * len(prompts) * sampling.num_samples
    return {name: (statistics.median(speeds[name]), tokens[name] / written_in_all) for name in both}


def write_here(writer: Writer, prompts: Sequence[str], sampling: Sampling) -> int:
    """Write with `rporec.backbone.generate`; return the tokens."""
    written = generate(writer, prompts, range(len(prompts)), sampling)
    return sum(len(one.token_ids) for samples in written for one in samples)


def write_plainly(writer: Writer, prompts: Sequence[str], sampling: Sampling) -> int:
    """Write with `generate` of transformers, batch by batch; return the tokens."""
    config = plain_config(writer, sampling)
    total = 0
    step = sampling.batch_size // sampling.num_samples
    for start in range(0, len(prompts), step):
        texts = [writer.render(prompt) for prompt in prompts[start : start + step]]
        given = writer.tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
        with torch.inference_mode():
            ids = writer.model.generate(**given, generation_config=config)[:, given["input_ids"].shape[1] :]
        writer.tokenizer.batch_decode(ids, skip_special_tokens=True)
        before_end = (ids == writer.eos_id).cumsum(dim=1) == 0  # [B*G, L]
        total += int((before_end.sum(dim=1) + 1).clamp(max=ids.shape[1]).sum())
    return total


def plain_config(writer: Writer, sampling: Sampling) -> GenerationConfig:
    """Return the settings of transformers that mean the same: no filter, the whole distribution."""
    return GenerationConfig(
        do_sample=True, temperature=sampling.temperature, top_k=0, top_p=1.0,
        num_return_sequences=sampling.num_samples, max_new_tokens=sampling.max_new_tokens,
        eos_token_id=writer.eos_id, pad_token_id=writer.tokenizer.pad_token_id,
    )  # fmt: skip


if __name__ == "__main__":
    main()
