"""Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): trained, loaded, streamed."""

import codecs
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, Int64

from tinytale.data.bytelevel import bytes_of, check_byte_level, splits_like_gpt2
from tinytale.data.words import WordEncoder
from tinytale.errors import TaleError, UsageError
from tinytale.files import sha256_of, write_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

END_OF_TEXT = "<|endoftext|>"
"""The one special token: it opens and closes every story. Text that merely spells it is ordinary text."""

TOKENIZER_FILE = "tokenizer.json"

SMALLEST = 257
"""Every byte, and the end of text."""

LEAST_SEEN = 2
"""A pair of tokens must occur this often to become a token."""

LONG_RUN = re.compile(r"\s*\S{1,256}")
TOO_LONG_RUN = re.compile(r"\S{257}")

GPT2_REPO = "openai-community/gpt2"
GPT2_REVISION = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
GPT2_FILES = {
    "vocab.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "merges.txt": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
"""GPT-2's tokenizer on the Hub, with the SHA-256 of each file."""


class Tokenizer:
    """Text to token ids and back, without loss: decoding gives the very bytes that were encoded.

    It adds nothing by itself. The engine, of the `tokenizers` library, does the merging; see `words` for the speed.

    Raises:
        TaleError: the engine has no `<|endoftext|>`, or changes text instead of encoding its bytes.
    """

    def __init__(self, engine: "Engine"):
        engine.encode_special_tokens = True
        self.engine = engine
        vocabulary = engine.get_vocab(with_added_tokens=True)
        if END_OF_TEXT not in vocabulary:
            raise TaleError(f"the tokenizer has no token {END_OF_TEXT}, which must open and close every story")
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise TaleError("the tokenizer's ids are not 0, 1, 2 and so on without a gap")
        settings = json.loads(engine.to_str())
        check_byte_level(settings)
        self.vocab_size = len(vocabulary)
        self.end_of_text = vocabulary[END_OF_TEXT]
        self.dtype = token_dtype(self.vocab_size)
        special = {token["id"] for token in settings["added_tokens"] if token["special"]}
        self._bytes = [b""] * self.vocab_size
        for token, index in vocabulary.items():
            if index not in special:
                self._bytes[index] = bytes_of(token)
        if not {bytes([byte]) for byte in range(256)} <= set(self._bytes):
            raise TaleError("the tokenizer lacks a token for some byte, so it would lose text")
        if self.end_of_text in self._merge(END_OF_TEXT):
            raise TaleError(f"the tokenizer does not keep text that spells {END_OF_TEXT} apart from the token")
        self._encode = WordEncoder(self._merge, self.dtype) if splits_like_gpt2(settings) else self._encode_whole

    def _merge(self, text: str) -> list[int]:
        try:
            return self.engine.encode(text, add_special_tokens=False).ids
        except TypeError as error:
            raise UsageError("the text holds half a character (a lone surrogate), which UTF-8 cannot write") from error

    def _encode_whole(self, text: str) -> bytes:
        return np.array(self._merge(text), self.dtype).tobytes()

    def encode_bytes(self, text: str) -> bytes:
        """Token ids as the shards keep them: little-endian integers of `dtype`."""
        return self._encode(text)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; never the end of text, whatever the text spells.

        Raises:
            UsageError: the text holds a lone surrogate.
        """
        return np.frombuffer(self._encode(text), self.dtype).tolist()

    def decode(self, ids: Iterable[int] | Int[np.ndarray, " T"]) -> str:
        """The text of `ids`; special tokens give nothing, bytes that are not UTF-8 give U+FFFD."""
        plain = ids.tolist() if isinstance(ids, np.ndarray) else ids
        return b"".join(map(self.token_bytes, plain)).decode("utf-8", "replace")

    def token_bytes(self, index: int) -> bytes:
        """The raw bytes of a token; none for the end of text.

        Raises:
            IndexError: there is no such token.
        """
        if index < 0:
            raise IndexError(f"no token {index}")
        return self._bytes[index]

    def byte_lengths(self) -> Int64[np.ndarray, " V"]:
        """How many bytes of text each token stands for; 0 for the end of text."""
        return np.array([len(token) for token in self._bytes], np.int64)

    def to_json(self) -> str:
        """The content of `tokenizer.json`."""
        return self.engine.to_str(pretty=True) + "\n"

    def save(self, path: Path) -> str:
        """Write `tokenizer.json` and return its SHA-256.

        Raises:
            TaleError: the disk refuses.
        """
        write_text(path, self.to_json())
        return sha256_of(path)


class StreamDecoder:
    """Decodes some tokens after others; a character whose bytes are not all there yet is held back."""

    def __init__(self, tokenizer: Tokenizer):
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, *tokens: int) -> str:
        """The text that these tokens complete; special tokens add nothing."""
        return self._decoder.decode(b"".join(map(self._token_bytes, tokens)))

    def finish(self) -> str:
        """What is still held back: nothing, or U+FFFD for a character that never became whole."""
        return self._decoder.decode(b"", final=True)


def token_dtype(vocab_size: int) -> np.dtype:
    """The narrowest of uint16 and uint32, little-endian, that holds every id."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def train_tokenizer(stories: Iterable[str], vocab_size: int, *, or_fewer: bool = False) -> Tokenizer:
    """Learn a byte-level BPE with `vocab_size` tokens; the same stories give the same bytes on any number of threads.

    `or_fewer` takes what the text allows if that is less.

    Raises:
        UsageError: the vocabulary is too small for all bytes, or larger than the text allows.
    """
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Engine

    if vocab_size < SMALLEST:
        raise UsageError(
            f"the vocabulary must hold all 256 bytes and {END_OF_TEXT}: at least {SMALLEST} tokens, not {vocab_size}"
        )
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=LEAST_SEEN,
        special_tokens=[AddedToken(END_OF_TEXT, special=True, normalized=False)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(map(_in_pieces, stories), trainer)
    if (possible := engine.get_vocab_size()) < vocab_size and not or_fewer:
        raise UsageError(
            f"the text allows at most {possible} tokens, not {vocab_size}; give --vocab-size {possible}, or more text"
        )
    return Tokenizer(engine)


def _in_pieces(story: str) -> list[str]:
    """The story, or its pieces if it has long runs without blanks: on those, training would take forever."""
    return LONG_RUN.findall(story) if TOO_LONG_RUN.search(story) else [story]


def load_tokenizer(spec: str | Path) -> Tokenizer:
    """A tokenizer from a folder with `tokenizer.json`, or with `vocab.json` and `merges.txt`; or `gpt2` from the Hub.

    Raises:
        UsageError: there is no such folder, or neither kind of file in it.
        TaleError: the files are damaged, the tokenizer is not byte-level BPE, it lacks `<|endoftext|>`, or the Hub
            cannot be reached.
    """
    if spec == "gpt2":
        files = [_gpt2_file(name) for name in GPT2_FILES]
        return _from_merges(*files)
    folder = Path(spec).expanduser()
    whole, vocabulary, merges = folder / TOKENIZER_FILE, folder / "vocab.json", folder / "merges.txt"
    if whole.is_file():
        return read_tokenizer(whole)
    if vocabulary.is_file() and merges.is_file():
        return _from_merges(vocabulary, merges)
    raise UsageError(
        f"no tokenizer in {str(spec)!r}; expected gpt2, or a folder with {TOKENIZER_FILE}, or with vocab.json and "
        "merges.txt"
    )


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`, leaving out anything by which it would add tokens, cut or pad.

    Raises:
        TaleError: it is damaged or of another kind; the message names it.
    """

    def read() -> "Engine":
        from tokenizers import Tokenizer as Engine

        settings = json.loads(path.read_text(encoding="utf-8"))
        return Engine.from_str(json.dumps(settings | {"post_processor": None, "truncation": None, "padding": None}))

    return _guarded(path, lambda: Tokenizer(read()))


def _from_merges(vocabulary: Path, merges: Path) -> Tokenizer:
    """GPT-2's own format."""

    def read() -> Tokenizer:
        from tokenizers import AddedToken, decoders, models, pre_tokenizers
        from tokenizers import Tokenizer as Engine

        engine = Engine(models.BPE.from_file(str(vocabulary), str(merges)))
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        engine.decoder = decoders.ByteLevel()
        if engine.token_to_id(END_OF_TEXT) is not None:
            engine.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
        return Tokenizer(engine)

    return _guarded(vocabulary, read)


def _guarded(path: Path, read: Any) -> Tokenizer:
    """Run `read`; whatever goes wrong in it is the fault of the file."""
    try:
        return read()
    except TaleError as error:
        raise TaleError(f"{path}: {error}") from error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the engine reports some damage by a panic, which is not an Exception
        raise TaleError(f"{path} cannot be read as a tokenizer: {' '.join(str(error).split())[:200]}") from error


def _gpt2_file(name: str) -> Path:
    """One file of GPT-2's tokenizer from the Hub or its cache, verified; fetched again if it is corrupt."""
    from huggingface_hub import hf_hub_download

    for again in (False, True):
        try:
            path = Path(hf_hub_download(GPT2_REPO, name, revision=GPT2_REVISION, force_download=again))
        except Exception as error:
            raise TaleError(
                f"cannot get {name} of {GPT2_REPO} from the Hub ({type(error).__name__}); check the network, or give "
                "--tokenizer a folder with GPT-2's vocab.json and merges.txt"
            ) from error
        if sha256_of(path) == GPT2_FILES[name]:
            return path
    raise TaleError(f"{path} is not GPT-2's {name}: its SHA-256 is wrong, even after fetching it again")
