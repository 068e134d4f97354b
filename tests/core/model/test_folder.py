import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tinytale.config import ModelConfig
from tinytale.errors import TaleError
from tinytale.model.folder import ALIASES, NAMES, is_gpt2, load_model, read_config, save_model
from tinytale.model.gpt2 import GPT2

SHAPE = {"vocab_size": 11, "context_length": 6, "layers": 2, "heads": 2, "width": 8, "layer_norm_epsilon": 0.001}
VARIANTS = [
    {"norm": norm, "positions": positions} for norm in ("pre", "post") for positions in ("learned", "sinusoidal")
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "model", GPT2(ModelConfig(**SHAPE)), end_of_text=10)
    (tmp_path / "model" / "model.safetensors.sha256").unlink()  # as folders of other programs have none
    return tmp_path / "model"


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dropout", [{}, {"attention_dropout": 0.0}], ids=str)
def test_every_variant_comes_back_equal(variant, dtype, dropout, tmp_path: Path):
    model = GPT2(ModelConfig(**SHAPE, **variant, dropout=0.1, **dropout)).to(dtype)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    save_model(tmp_path, model, end_of_text=10, dtype=dtype)
    back = load_model(tmp_path, "textbook", dtype)
    assert back.config == model.config and not back.training
    assert back.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in back.parameters())


def test_only_gpt2_calls_itself_gpt2(tmp_path: Path):
    for number, variant in enumerate(VARIANTS):
        config = ModelConfig(**SHAPE, **variant)
        save_model(tmp_path / str(number), GPT2(config), end_of_text=10)
        content = json.loads((tmp_path / str(number) / "config.json").read_text())
        assert is_gpt2(config) == (variant == {"norm": "pre", "positions": "learned"})
        assert content["model_type"] == ("gpt2" if is_gpt2(config) else "tinytale")


def test_the_table_names_every_weight_once(folder: Path):
    names = {name for name, _ in GPT2(ModelConfig(**SHAPE)).named_parameters()}
    assert {ours.format(layer) for ours, _, _ in NAMES for layer in range(2)} == names
    assert len({theirs for _, theirs, _ in NAMES}) == len(NAMES)
    assert len(load_file(folder / "model.safetensors")) == len(names)


def test_saving_leaves_the_model_as_it_was(folder: Path, tmp_path: Path):
    model = load_model(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_model(tmp_path / "other", model, end_of_text=10, dtype=torch.bfloat16)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())


def test_the_layout_of_old_gpt2_files_is_read(folder: Path):
    """As OpenAI's own on the Hub: causal masks among the weights, the output layer once more."""
    model = load_model(folder)
    weights = load_file(folder / "model.safetensors")
    for layer in range(2):
        weights[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 6, 6)
        weights[f"h.{layer}.attn.masked_bias"] = torch.tensor(-10_000.0)
    weights["lm_head.weight"] = weights["wte.weight"].clone()
    save_file(weights, folder / "model.safetensors")
    back = load_model(folder)
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_the_names_that_transformers_writes_are_read(folder: Path):
    model = load_model(folder)
    weights = {f"transformer.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors")
    back = load_model(folder)
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_what_other_programs_ask_of_a_folder_is_there(tmp_path: Path):
    save_model(tmp_path, GPT2(ModelConfig(**SHAPE)), end_of_text=10, tokenizer_json=b"{}")
    tokenizer = json.loads((tmp_path / "tokenizer_config.json").read_text())
    # transformers 4 adds the embedding of token 0 to every position where the tokenizer gives token types
    assert tokenizer["model_input_names"] == ["input_ids", "attention_mask"]
    assert tokenizer["pad_token"] == tokenizer["eos_token"] == "<|endoftext|>"
    assert json.loads((tmp_path / "config.json").read_text())["n_ctx"] == SHAPE["context_length"]  # mlx-lm's name
    names = load_file(tmp_path / "model.safetensors")
    assert "wte.weight" in names and not any(name.startswith("transformer.") for name in names)


def test_defaults_are_those_of_gpt2_small(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert read_config(tmp_path) == ModelConfig(dropout=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "describes a model of type 'llama'; expected 'gpt2'"),
        ({"activation_function": "relu"}, "activation_function is 'relu'; expected 'gelu_new'"),
        ({"n_inner": 99}, "n_inner is 99"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"tie_word_embeddings": False}, "lacks lm_head.weight, though in config.json tie_word_embeddings is False"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings is None"),
        ({"n_layer": "2"}, "'2'; expected int"),
        ({"n_head": 3}, "heads is 3; expected a divisor"),
        ({"layer_norm_epsilon": None}, "layer_norm_epsilon is None"),
        ({"resid_pdrop": 10**400}, "dropout"),
        ({"n_layer": 3}, "holds 2 layers; config.json says 3"),
        ({"n_layer": 100_000}, "layers is 100000; expected a whole number from 1 to 1024"),
        ({"hidden_size": 16}, "hidden_size is 16 and n_embd 8; expected one number"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is"),
        ({"n_embd": 16, "n_inner": None}, "wte.weight has shape (11, 8)"),
        ({"vocab_size": 12}, "wte.weight has shape (11, 8)"),
        ({"vocab_size": 10**30}, "vocab_size is 1000"),
        ({"n_positions": 7}, "wpe.weight has shape (6, 8)"),
        ({"n_positions": 10**15}, "context_length is 1000"),
    ],
    ids=str,
)
def test_a_config_of_something_else_is_refused_with_what_is_wrong(folder: Path, change: dict, message: str):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TaleError) as error:
        load_model(folder)
    assert message in str(error.value) and str(folder) in str(error.value)


def test_names_that_transformers_takes_for_gpt2s_own_are_read(folder: Path):
    path = folder / "config.json"
    content, before = json.loads(path.read_text()), read_config(folder)
    for alias, name in ALIASES.items():
        content[alias] = content.pop(name)
    path.write_text(json.dumps(content))
    assert read_config(folder) == before
    load_model(folder)
    transformers = pytest.importorskip("transformers")
    assert transformers.GPT2Config.attribute_map == ALIASES


OTHER = {
    "activation_function": "relu",
    "n_inner": 16,
    "vocab_size": 12,
    "n_positions": 7,
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 1,
    "bos_token_id": 3,
    "eos_token_id": 3,
    "pad_token_id": 3,
    "layer_norm_epsilon": 0.5,
    "chunk_size_feed_forward": 2,
    "dtype": "float32",
    "summary_type": "last",
    "summary_activation": "tanh",
    "problem_type": "regression",
    "return_dict": True,  # its other value only changes what calls return
    "id2label": {"0": "a"},
    "label2id": {"a": 0},
    "architectures": ["GPT2Model"],
    "_name_or_path": "x",
    "model_type": "gpt2",
    "transformers_version": "4.0.0",
}
"""Another value of every setting that is not a switch or a probability."""


def test_every_setting_of_gpt2_is_refused_or_gives_the_logits_of_transformers(folder: Path):
    """Whatever transformers' own GPT2Config knows: a setting that a new version adds fails here."""
    transformers = pytest.importorskip("transformers")
    path, tokens_BT = folder / "config.json", torch.tensor([[3, 1, 4, 1, 5, 9]])
    original = json.loads(path.read_text())
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    save_file({n: torch.randn(t.shape, generator=generator) for n, t in weights.items()}, folder / "model.safetensors")
    refused = set()
    for name, value in transformers.GPT2Config().to_dict().items():
        other = OTHER.get(name, not value if isinstance(value, bool) else 0.5 if isinstance(value, float) else None)
        assert other is not None, f"{name} is new, or no switch: give it another value in OTHER"
        path.write_text(json.dumps(original | {name: other}))
        try:
            ours = load_model(folder)
        except TaleError as error:
            assert name in str(error) or name in ("vocab_size", "n_positions", "n_embd", "n_layer"), name
            refused.add(name)
            continue
        theirs = transformers.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").eval()
        with torch.no_grad():
            logits_BTV = theirs(tokens_BT, use_cache=False, return_dict=True).logits
            torch.testing.assert_close(ours(tokens_BT), logits_BTV, rtol=0, atol=2e-4, msg=name)
    assert {"activation_function", "n_inner", "scale_attn_weights", "scale_attn_by_inverse_layer_idx"} <= refused
    assert not {"reorder_and_upcast_attn", "layer_norm_epsilon", "n_head", "resid_pdrop"} & refused


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_small_file_that_asks_for_much_memory_is_refused(positions: str, tmp_path: Path):
    """Sinusoids take no room in a file, and narrow positions little: the cache of a text would take gigabytes."""
    shape = {"vocab_size": 11, "context_length": 2**19, "layers": 12, "heads": 1, "width": 2}
    save_model(tmp_path, GPT2(ModelConfig(**shape, positions=positions)), end_of_text=10)
    with pytest.raises(TaleError, match="n_positions is 524288, so the cache of one text would take 100,663,296 bytes"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["wpe.weight", "h.1.ln_2.bias"])
def test_a_weight_that_is_missing_is_named(folder: Path, name: str):
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(TaleError, match=f"lacks {name}"):
        load_model(folder)


def test_a_weight_that_gpt2_does_not_have_is_named(folder: Path):
    weights = load_file(folder / "model.safetensors") | {"h.0.rotary": torch.ones(2)}
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(TaleError, match=r"holds h\.0\.rotary, which GPT-2 does not have"):
        load_model(folder)


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
def test_weights_that_are_not_safetensors_are_refused_by_name(folder: Path, content: bytes):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(TaleError, match=r"model\.safetensors"):
        load_model(folder)


mutations = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4)


@settings(deadline=2000)
@given(where=st.sampled_from(["config.json", "model.safetensors"]), mutations=mutations, header=st.booleans())
def test_a_mutated_file_loads_or_is_refused_with_our_error(where, mutations, header, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "mutated"
    save_model(folder, GPT2(ModelConfig(**SHAPE)), end_of_text=10)
    (folder / "model.safetensors.sha256").unlink()
    content = bytearray((folder / where).read_bytes())
    reach = min(len(content), 1500) if header else len(content)  # most damage is done where the structure is
    for place, value in mutations:
        content[int(place * reach)] = value
    (folder / where).write_bytes(content)
    try:
        load_model(folder)
    except TaleError as error:
        assert where in str(error) or "config.json" in str(error) or "model.safetensors" in str(error)


values = st.sampled_from([0, -1, 2**70, 10**30, 1.5, math.nan, math.inf, None, True, "x", [], {}, [1] * 3])


@given(
    name=st.sampled_from(["n_layer", "n_embd", "n_head", "n_positions", "vocab_size", "resid_pdrop"]) | st.text(),
    value=values,
)
def test_any_value_in_the_config_loads_or_is_refused_with_our_error(name: str, value: object, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "any-value"
    if not (folder / "model.safetensors").is_file():
        save_model(folder, GPT2(ModelConfig(**SHAPE)), end_of_text=10)
    content = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "n_positions": 6, "vocab_size": 11}
    (folder / "config.json").write_text(json.dumps(content | {name: value}))
    try:
        load_model(folder)
    except TaleError as error:
        assert str(folder) in str(error)
