"""A GPT-2 folder in Hugging Face's layout, `config.json` and `model.safetensors`, without transformers.

`transformers` stores GPT-2's matrices the other way round (its Conv1D is a transposed linear layer) and under OpenAI's
names; the table below is the whole difference. A variant that GPT-2 does not have (post-norm, sinusoids) is saved in
the same layout but with `model_type: tinytale`, so that no other program loads it as something that it is not.
"""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from tinytale.config import ModelConfig, override
from tinytale.errors import TaleError, UsageError
from tinytale.files import read_json, write_bytes, write_json
from tinytale.model.attention import Kernels
from tinytale.model.gpt2 import GPT2
from tinytale.model.weight_files import SINGLE, StoredWeights, open_weights, write_weights

NAMES = (
    # ours                           Hugging Face's      transposed
    ("embedding.weight_VC", "wte.weight", False),
    ("positions.weight_TC", "wpe.weight", False),
    ("final_norm.gain_C", "ln_f.weight", False),
    ("final_norm.bias_C", "ln_f.bias", False),
    ("blocks.{}.norm1.gain_C", "h.{}.ln_1.weight", False),
    ("blocks.{}.norm1.bias_C", "h.{}.ln_1.bias", False),
    ("blocks.{}.attention.qkv.weight", "h.{}.attn.c_attn.weight", True),
    ("blocks.{}.attention.qkv.bias", "h.{}.attn.c_attn.bias", False),
    ("blocks.{}.attention.output.weight", "h.{}.attn.c_proj.weight", True),
    ("blocks.{}.attention.output.bias", "h.{}.attn.c_proj.bias", False),
    ("blocks.{}.norm2.gain_C", "h.{}.ln_2.weight", False),
    ("blocks.{}.norm2.bias_C", "h.{}.ln_2.bias", False),
    ("blocks.{}.feed_forward.expand.weight", "h.{}.mlp.c_fc.weight", True),
    ("blocks.{}.feed_forward.expand.bias", "h.{}.mlp.c_fc.bias", False),
    ("blocks.{}.feed_forward.output.weight", "h.{}.mlp.c_proj.weight", True),
    ("blocks.{}.feed_forward.output.bias", "h.{}.mlp.c_proj.bias", False),
)
_OURS = {ours: (theirs, transposed) for ours, theirs, transposed in NAMES}
EMBEDDING, HEAD = "wte.weight", "lm_head.weight"
_NOT_WEIGHTS = re.compile(r"^(h\.\d+\.attn\.(bias|masked_bias)|lm_head\.weight)$")
"""What GPT-2 files may hold besides weights: causal masks, and the output layer, which is the embedding again."""
CHAT_TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""A conversation is one story: its turns follow one another, as our server takes them."""


ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
"""Names that transformers takes for GPT-2's own."""

EXPECTED = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "tie_word_embeddings": (True, False),
    "quantization_config": (None,),
    "pruned_heads": (None, {}, []),
}
"""What changes GPT-2's function, and the values that leave it as it is; the first is the default."""

CACHE_ROOM, CACHE_SHARE = 2**23, 8
"""A text's keys and values may take these bytes, and so many times the bytes of the weights. GPT-2's take a sixth of
its weights; sinusoids, of which no file holds any, could ask for all memory."""


def hugging_face_name(name: str) -> tuple[str, bool]:
    """The name of our parameter in a GPT-2 file (without its `transformer.` prefix), and whether it lies transposed."""
    layer = re.search(r"\d+", name)
    theirs, transposed = _OURS[re.sub(r"\d+", "{}", name, count=1) if name.startswith("blocks.") else name]
    return theirs.format(layer[0] if layer else ""), transposed


def is_gpt2(config: ModelConfig) -> bool:
    """Whether GPT-2 as published computes the same function, so that every program may load the weights."""
    return config.norm == "pre" and config.positions == "learned"


def hugging_face_config(config: ModelConfig, end_of_text: int, dtype: torch.dtype) -> dict[str, Any]:
    """The content of `config.json`."""
    published = is_gpt2(config)
    own = {} if published else {"norm": config.norm, "positions": config.positions}
    return {
        "architectures": ["GPT2LMHeadModel" if published else "TinytaleGPT2"],
        "model_type": "gpt2" if published else "tinytale",
        "activation_function": "gelu_new",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_ctx": config.context_length,  # its older name, which mlx-lm asks for
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout if config.attention_dropout is None else config.attention_dropout,
        "resid_pdrop": config.dropout,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": str(dtype).removeprefix("torch."),
        **own,
    }


def tokenizer_config(context_length: int) -> dict[str, Any]:
    """The content of `tokenizer_config.json`."""
    end = "<|endoftext|>"
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        # Without this, transformers 4 gives GPT-2 token types too, and GPT-2 adds the first token's embedding to all.
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "pad_token": end,
        "chat_template": CHAT_TEMPLATE,
    }


def save_weights(folder: Path, model: GPT2, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights of a GPT-2 folder; see `save_model`."""
    weights = {}
    for name, parameter in model.state_dict().items():
        theirs, transposed = hugging_face_name(name)
        weights[theirs] = (parameter.T if transposed else parameter).to("cpu", dtype).contiguous()
    write_weights(folder / SINGLE, save(weights, metadata={"format": "pt"}))


def save_model(
    folder: Path, model: GPT2, end_of_text: int, tokenizer_json: bytes | None = None, dtype: torch.dtype = torch.float32
) -> None:
    """Write a GPT-2 folder that `transformers.GPT2LMHeadModel.from_pretrained` loads with equal logits.

    Args:
        folder: made if it does not exist; files in it are replaced one by one, each whole.
        model: the weights to save; they stay as they are.
        end_of_text: id of the token that begins and ends every story.
        tokenizer_json: content of the tokenizer's own file, saved beside the weights.
        dtype: number format of the saved weights.

    Raises:
        TaleError: the disk refuses.
    """
    save_weights(folder, model, dtype)
    save_settings(folder, model.config, end_of_text, tokenizer_json, dtype)


def save_settings(
    folder: Path, config: ModelConfig, end_of_text: int, tokenizer_json: bytes | None, dtype: torch.dtype
) -> None:
    """Write all of a GPT-2 folder but its weights; `config.json` comes last.

    Raises:
        TaleError: the disk refuses.
    """
    if tokenizer_json is not None:
        write_bytes(folder / "tokenizer.json", tokenizer_json)
        write_json(folder / "tokenizer_config.json", tokenizer_config(config.context_length))
    write_json(
        folder / "generation_config.json", {"bos_token_id": end_of_text, "eos_token_id": end_of_text, "do_sample": True}
    )
    write_json(folder / "config.json", hugging_face_config(config, end_of_text, dtype))


def read_config(folder: Path) -> ModelConfig:
    """The architecture that a GPT-2 folder's `config.json` describes.

    Raises:
        TaleError: it is not a GPT-2, or one with an option that this model does not have; the message names it.
    """
    path = folder / "config.json"
    content = read_json(path)
    if not isinstance(content, dict) or content.get("model_type") not in ("gpt2", "tinytale"):
        kind = content.get("model_type") if isinstance(content, dict) else type(content).__name__
        raise TaleError(f"{path} describes a model of type {kind!r}; expected 'gpt2'")
    own = content["model_type"] == "tinytale"
    for alias, name in ALIASES.items():
        if alias in content and content.setdefault(name, content[alias]) != content[alias]:
            raise TaleError(f"{path}: {alias} is {content[alias]!r} and {name} {content[name]!r}; expected one number")
    width = content.get("n_embd", 768)
    expected = EXPECTED | {"n_inner": (None, 4 * width if isinstance(width, int) else None)}
    for name, values in expected.items():
        if content.get(name, values[0]) not in values:
            raise TaleError(f"{path}: {name} is {content[name]!r}; expected {values[0]!r}, as in GPT-2")
    dropout = content.get("resid_pdrop", 0.1)
    attention_dropout = content.get("attn_pdrop", dropout)
    settings = {
        "vocab_size": content.get("vocab_size", 50_257),
        "context_length": content.get("n_positions", 1024),
        "layers": content.get("n_layer", 12),
        "heads": content.get("n_head", 12),
        "width": width,
        "dropout": dropout,
        "attention_dropout": None if attention_dropout == dropout else attention_dropout,
        "layer_norm_epsilon": content.get("layer_norm_epsilon", 1e-5),
        "norm": content.get("norm", "pre") if own else "pre",
        "positions": content.get("positions", "learned") if own else "learned",
    }
    try:
        return override(ModelConfig(), settings)
    except UsageError as error:
        raise TaleError(f"{path}: {error}") from error


def load_model(folder: Path, kernels: Kernels = "fused", dtype: torch.dtype = torch.float32) -> GPT2:
    """Read a GPT-2 folder: ours, or any in Hugging Face's layout with its weights in safetensors, one file or several.

    Returns the model in evaluation mode, on the CPU, in `dtype`.

    Raises:
        TaleError: a file is missing or damaged, or the weights are not those that `config.json` describes.
    """
    config = read_config(folder)
    with open_weights(folder) as stored:
        layers = {name.split(".")[1] for name in stored if name.startswith("h.")}
        if len(layers) != config.layers:
            raise TaleError(f"{stored.source} holds {len(layers)} layers; config.json says {config.layers}")
        with torch.device("meta"):
            model = GPT2(config, kernels)
        names = {name: hugging_face_name(name) for name in model.state_dict()}
        if EMBEDDING not in stored and HEAD in stored:  # of two names for one matrix, some programs save this one
            names["embedding.weight_VC"] = HEAD, False
        weights = {}
        for name, parameter in model.state_dict().items():
            weights[name] = _matching(stored, *names[name], parameter.shape).to(dtype)
        _check_tied(stored, folder)
        known = {theirs for theirs, _ in names.values()}
        strangers = [name for name in stored if name not in known and not _NOT_WEIGHTS.match(name)]
        if strangers:
            raise TaleError(f"{stored.source} holds {strangers[0]}, which GPT-2 does not have")
    _check_cache(config, sum(tensor.nbytes for tensor in weights.values()), folder)
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(True).eval()


def _matching(stored: StoredWeights, name: str, transposed: bool, shape: torch.Size) -> Tensor:
    if name not in stored:
        raise TaleError(f"{stored.source} lacks {name}, which config.json calls for")
    found = stored.shape(name)
    if found != (tuple(reversed(shape)) if transposed else tuple(shape)):
        raise TaleError(f"{stored.where(name)} has shape {found}, which is not the shape that config.json calls for")
    tensor = stored.read(name)
    return tensor.T.contiguous() if transposed else tensor


def _check_cache(config: ModelConfig, weights: int, folder: Path) -> None:
    """Refuse a small file that asks for much memory once it tells a story."""
    needed = 2 * config.layers * config.context_length * config.width * 4
    if needed > CACHE_ROOM + CACHE_SHARE * weights:
        raise TaleError(
            f"{folder / 'config.json'}: n_positions is {config.context_length}, so the cache of one text would take"
            f" {needed:,} bytes, out of all proportion to {weights:,} bytes of weights"
        )


def _check_tied(stored: StoredWeights, folder: Path) -> None:
    """An output layer that is stored by itself must be the embedding again: here they are one matrix."""
    if HEAD not in stored:
        if read_json(folder / "config.json").get("tie_word_embeddings") is False:
            raise TaleError(f"{stored.source} lacks {HEAD}, though in config.json tie_word_embeddings is False")
    elif EMBEDDING in stored and not torch.equal(stored.read(HEAD), stored.read(EMBEDDING)):
        raise TaleError(
            f"{stored.where(HEAD)} is not the embedding ({EMBEDDING}): the model has an output layer of its own; GPT-2"
            " here, as OpenAI published it, uses one matrix for both, so such a model cannot be loaded"
        )
