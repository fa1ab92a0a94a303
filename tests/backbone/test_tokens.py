"""Two model folders are told to have one tokenizer, or not, by what it does and not by how it was last used."""

import json
import shutil

import pytest

from rporec.backbone.tokens import require_same_tokenizer, tokenizer_hash
from rporec.errors import InputError
from tests.backbone.models import qwen3


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    qwen3().tokenizer.save_pretrained(folder)
    return folder


def changed(name, change):
    def spoil(folder):
        told = json.loads((folder / name).read_text())
        change(told)
        (folder / name).write_text(json.dumps(told))

    return spoil


def test_what_was_padded_last_is_no_other_tokenizer(saved, tmp_path):
    words = qwen3().tokenizer
    words.padding_side = "left"
    words(["a b", "a"], padding=True, truncation=True, max_length=9)
    words.save_pretrained(tmp_path)
    rules = [json.loads((folder / "tokenizer.json").read_text()) for folder in (saved, tmp_path)]
    assert rules[0]["padding"] != rules[1]["padding"], "the files differ"
    require_same_tokenizer(tmp_path, saved)


@pytest.mark.parametrize(
    "spoil",
    [
        changed("tokenizer.json", lambda told: told["model"]["vocab"].update(zzz=len(told["model"]["vocab"]))),
        changed("tokenizer.json", lambda told: told.update(normalizer={"type": "Lowercase"})),
        changed("tokenizer_config.json", lambda told: told.update(eos_token="a")),
        changed("tokenizer_config.json", lambda told: told.update(chat_template="{{ messages }}")),
        lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        lambda folder: (folder / "tokenizer.json").unlink(),
    ],
    ids=["vocabulary", "rules", "end", "template", "template file", "broken", "none"],
)
def test_another_tokenizer_is_refused(saved, tmp_path, spoil):
    shutil.copytree(saved, tmp_path / "policy")
    spoil(tmp_path / "policy")
    with pytest.raises(InputError, match="tokenizer is not the backbone's") as error:
        require_same_tokenizer(tmp_path / "policy", saved)
    assert error.value.file == tmp_path / "policy"
    assert error.value.cure


def test_two_folders_without_a_tokenizer_are_not_alike(tmp_path):
    assert tokenizer_hash(tmp_path) == "none"
    with pytest.raises(InputError):
        require_same_tokenizer(tmp_path, tmp_path)


def test_a_tokenizer_without_a_rules_file_is_known_by_its_vocabulary(saved, tmp_path):
    shutil.copy(saved / "tokenizer_config.json", tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"words")
    first = tokenizer_hash(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"other words")
    assert first != tokenizer_hash(tmp_path) != "none"
