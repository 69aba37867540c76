"""What can't be a base is refused with a sentence, before anything is trained on it; what tells one base from another."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pipeline import model, vocabulary
from pipeline.errors import UserError
from pipeline.schema import Model


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the bundled model to spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def without_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layers.1.mlp" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def half_downloaded(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def configured(**values):
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    return change


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (without_a_layer, "3 tensors of a LlamaForCausalLM are not in its files"),
        (half_downloaded, "damaged or half downloaded"),
        (no_weights, "no weights in safetensors"),
        (configured(is_encoder_decoder=True), "encoder-decoder"),
        (configured(architectures=["BertForMaskedLM"]), "reads in both directions"),
        (configured(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}), "quantized already"),
        (configured(intermediate_size=256), "other shapes than its config says"),
    ],
)
def test_what_is_no_base_is_refused(folder, spoil, sentence):
    """Missing tensors would be drawn at random with every load; a quantized base can't be merged into; and so on."""
    spoil(folder)
    with pytest.raises(UserError, match=sentence):
        model.base(Model(str(folder)))


def test_fingerprint_sees_a_change_in_the_middle(folder):
    """Another model of the same size, equal at both ends of its file, is another model."""
    before = model.fingerprint(folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert model.fingerprint(folder) != before


def test_tokenizer_of_another_model_is_refused(tiny):
    """A token the embedding has no row for would be an index error in the middle of a run."""
    named = Model(str(tiny))
    tokenizer, base = model.tokenizer(named), model.base(named)
    vocabulary.check(base, tokenizer)
    tokenizer.add_tokens(["<one more>"])
    with pytest.raises(UserError, match=r"1501 tokens and the model knows 1500"):
        vocabulary.check(base, tokenizer)
