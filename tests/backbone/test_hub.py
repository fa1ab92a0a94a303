"""Models by name, really loaded: from a cache as the hub's client lays it out, without a network."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from rporec.backbone.generate import Sampling, generate
from rporec.backbone.source import load_writer
from rporec.encode.pretrained import load_pretrained
from tests.backbone.models import llama, qwen3
from tests.encode.models import bert
from tests.project import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROMPT = "Acme steel hammer; tools"
TEXTS = ["acme lamp no 1", "bolt felt rope"]
SAMPLING = Sampling(num_samples=2, temperature=1.0, max_new_tokens=8, batch_size=8, seed=5)
# A process of its own: the hub's client reads its environment when it is imported.
LOAD = f"""
import json, sys, torch
torch.set_num_threads(1)
from rporec.backbone.generate import Sampling, generate
from rporec.backbone.source import load_writer
from rporec.encode.pretrained import load_pretrained
writers = [load_writer(name) for name in sys.argv[1].split()]
encoders = [load_pretrained(name) for name in sys.argv[2].split()]
(texts,) = zip(*(generate(one, [{PROMPT!r}], [7], {SAMPLING!r}) for one in writers))
print(json.dumps({{
    "templates": [one.tokenizer.chat_template for one in writers],
    "written": [[sample.token_ids for sample in samples] for samples in texts],
    "vectors": [one.encode({TEXTS!r}).tolist() for one in encoders],
    "identities": [one.identity() for one in encoders],
}}))
"""


def into_cache(hub, name, folder):
    """Lay a model folder into a cache as huggingface_hub does: blobs by hash, a snapshot of links, a ref."""
    place = hub / f"models--{name.replace('/', '--')}"
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        blob = place / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(file.read_bytes())
        link = place / "snapshots" / COMMIT / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (place / "refs").mkdir()
    (place / "refs/main").write_text(COMMIT)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    qwen3().save(made / "qwen3")
    llama().save(made / "llama")
    return {"qwen3": made / "qwen3", "llama": made / "llama", "bert": bert(made)}


@pytest.fixture(scope="module")
def by_name(folders, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    into_cache(home / "hub", "some-owner/tiny-qwen3", folders["qwen3"])
    into_cache(home / "hub", "some-owner/tiny-llama", folders["llama"])
    into_cache(home / "hub", "some-owner/tiny-bert", folders["bert"])
    into_cache(home / "hub", "sentence-transformers/tiny-bert", folders["bert"])
    unset = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, "some-owner/tiny-qwen3 some-owner/tiny-llama", "some-owner/tiny-bert tiny-bert"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**environment, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_backbone_by_name_writes_as_the_one_by_folder(folders, by_name):
    for place, name in enumerate(("qwen3", "llama")):
        writer = load_writer(folders[name])
        (samples,) = generate(writer, [PROMPT], [7], SAMPLING)
        assert by_name["written"][place] == [sample.token_ids for sample in samples]
        assert by_name["templates"][place] == writer.tokenizer.chat_template
    assert by_name["written"][0] != by_name["written"][1]


def test_an_encoder_by_name_with_and_without_its_owner_is_the_one_by_folder(folders, by_name):
    encoder = load_pretrained(folders["bert"])
    for vectors in by_name["vectors"]:
        np.testing.assert_allclose(vectors, encoder.encode(TEXTS), atol=1e-6)
    assert set(by_name["identities"]) == {encoder.identity()}
