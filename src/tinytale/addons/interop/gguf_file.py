"""A GPT-2 in one GGUF file, weights and tokenizer, as llama.cpp and the programs built on it read it."""

import json
import math
from contextlib import closing
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Stored

from tinytale.config import ModelConfig
from tinytale.data.bytelevel import splits_like_gpt2
from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.files import written_whole
from tinytale.model.folder import CHAT_TEMPLATE
from tinytale.model.gpt2 import GPT2
from tinytale.model.layers import SinusoidalPositions

Format = Literal["float32", "bfloat16", "q8_0"]
"""How the matrices are stored. `q8_0`: blocks of 32 numbers, each an 8-bit integer, with one 16-bit scale a block."""

STORED: dict[Format, tuple[Stored, gguf.LlamaFileType]] = {
    "float32": (Stored.F32, gguf.LlamaFileType.ALL_F32),
    "bfloat16": (Stored.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (Stored.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}

NAMES = (
    # ours                  GGUF's
    ("embedding.weight_VC", "token_embd.weight"),
    ("positions.weight_TC", "position_embd.weight"),
    ("final_norm.", "output_norm."),
    ("blocks.", "blk."),
    ("norm1.", "attn_norm."),
    ("attention.qkv.", "attn_qkv."),
    ("attention.output.", "attn_output."),
    ("norm2.", "ffn_norm."),
    ("feed_forward.expand.", "ffn_up."),
    ("feed_forward.output.", "ffn_down."),
    ("gain_C", "weight"),
    ("bias_C", "bias"),
)
"""What to replace, in this order. Our matrices lie as GGUF's do: a row for each output."""


def gguf_name(name: str) -> str:
    """The name of our parameter in a GGUF file."""
    for ours, theirs in NAMES:
        name = name.replace(ours, theirs)
    return name


def write_gguf(path: Path, model: GPT2, tokenizer: Tokenizer, name: str, stored: Format) -> list[str]:
    """Write a model and its tokenizer as one GGUF file, whole or not at all; the same model gives the same bytes.

    Positions, biases and LayerNorms are always float32, which llama.cpp calls for; matrices are `stored`, except those
    whose rows are no multiple of a block of `q8_0`. Returns the names of these, which are float32 too.

    Raises:
        UsageError: llama.cpp cannot compute this model, or not read its tokenizer.
        TaleError: the disk refuses, or a weight is not finite, or too large for the number format.
    """
    check_gguf(model.config, tokenizer)
    writer = gguf.GGUFWriter(path=None, arch=gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.GPT2])
    kind, file_type = STORED[stored]
    _add_architecture(writer, model.config, name)
    writer.add_file_type(file_type)
    if kind is Stored.Q8_0:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_tokenizer(writer, tokenizer, model.config.vocab_size)
    whole = []
    for tensor_name, tensor in tensors(model).items():
        matrix = tensor.ndim == 2 and tensor_name != "position_embd.weight"
        fits = tensor.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
        if matrix and not fits:
            whole.append(tensor_name)
        actual = kind if matrix and fits else Stored.F32
        written = gguf.quantize(tensor, actual)
        if not np.isfinite(gguf.dequantize(written, actual)).all():
            raise TaleError(f"{tensor_name} holds numbers that {actual.name} cannot hold; {_why(tensor)}")
        writer.add_tensor(tensor_name, written, raw_dtype=actual)
    with written_whole(path) as partial, closing(writer):
        writer.write_header_to_file(partial)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    return whole


def _why(tensor: np.ndarray) -> str:
    if not np.isfinite(tensor).all():
        return "some are not finite: the weights are damaged"
    return f"the largest is {np.abs(tensor).max():.3g}; give --dtype float32"


def check_gguf(config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Whether llama.cpp's GPT-2 computes the same function and encodes the same tokens.

    Raises:
        UsageError: it does not.
    """
    if config.norm == "post":
        raise UsageError("the model has norm: post; the GPT-2 that GGUF describes has LayerNorm before each sub-layer")
    if not splits_like_gpt2(json.loads(tokenizer.engine.to_str())):
        raise UsageError("the tokenizer does not split text by GPT-2's pattern, so llama.cpp would encode otherwise")
    if tokenizer.vocab_size > config.vocab_size:
        raise TaleError(f"the tokenizer has {tokenizer.vocab_size} tokens, the model knows {config.vocab_size}")


def tensors(model: GPT2) -> dict[str, np.ndarray]:
    """The float32 tensors of a GGUF file by name.

    Sinusoids become learned positions. Their factor on the embedding, which the output layer does not have, makes
    input and output two matrices.
    """
    config = model.config
    found = {gguf_name(name): tensor.float().cpu().numpy() for name, tensor in model.state_dict().items()}
    if config.positions == "sinusoidal":
        zeros_TC = model.embedding.weight_VC.new_zeros(config.context_length, config.width).float()
        found["position_embd.weight"] = SinusoidalPositions(config)(zeros_TC[None], 0)[0].cpu().numpy()
        found["output.weight"] = found["token_embd.weight"]
        found["token_embd.weight"] = np.float32(math.sqrt(config.width)) * found["token_embd.weight"]
    return found


def _add_architecture(writer: gguf.GGUFWriter, config: ModelConfig, name: str) -> None:
    writer.add_name(name)
    writer.add_block_count(config.layers)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(4 * config.width)
    writer.add_head_count(config.heads)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer, vocab_size: int) -> None:
    """GPT-2's kind of tokenizer; `<|endoftext|>` goes before every text, as it opens every story.

    Rows of the embedding beyond the tokenizer's own get a name that no text encodes to.
    """
    settings = json.loads(tokenizer.engine.to_str())
    vocabulary = tokenizer.engine.get_vocab(with_added_tokens=True)
    special = {token["id"] for token in settings["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = [gguf.TokenType.CONTROL if index in special else gguf.TokenType.NORMAL for index in range(len(tokens))]
    unused = range(len(tokens), vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, *(f"[PAD{index}]" for index in unused)])
    writer.add_token_types([*kinds, *(gguf.TokenType.UNUSED for _ in unused)])
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in settings["model"]["merges"]]
    )
    writer.add_bos_token_id(tokenizer.end_of_text)
    writer.add_eos_token_id(tokenizer.end_of_text)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
