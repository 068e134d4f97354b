"""Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): trained, loaded, streamed."""

import codecs
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, Int64

from tinytale.data.added_tokens import added_token, with_tokens_beside
from tinytale.data.bytelevel import bytes_of, check_byte_level, splits_like_gpt2
from tinytale.data.words import WordEncoder
from tinytale.errors import TaleError, UsageError
from tinytale.files import refuse_lfs_pointer, sha256_of, write_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

END_OF_TEXT = "<|endoftext|>"
"""The one special token: it opens and closes every story. Text that merely spells it is ordinary text."""

TOKENIZER_FILE = "tokenizer.json"

SMALLEST = 257
"""Every byte, and the end of text."""

LEAST_SEEN = 2
"""A pair of tokens must occur this often to become a token."""

PROBE = (
    "Once upon a  time, it's 12 o'clock.\n\n \t Zoë’s 🦊 从前\r\n\0\u00a0\u2028"
    f" {END_OF_TEXT}{END_OF_TEXT.upper()}  e\u0301 \n"
)
"""What every tokenizer must give back as it was: blanks of all kinds, accents, other scripts, what spells a token."""

PROBED = 1024
"""So many added tokens are tried out, too."""

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
        TaleError: the engine has no `<|endoftext|>`, or is not known to encode text without loss.
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
        check_byte_level(settings, END_OF_TEXT)
        self.vocab_size = len(vocabulary)
        self.end_of_text = vocabulary[END_OF_TEXT]
        self.dtype = token_dtype(self.vocab_size)
        self._bytes = [b""] * self.vocab_size
        for token, index in settings["model"]["vocab"].items():
            self._bytes[index] = bytes_of(token)
        self._added = {token["id"]: token["content"] for token in settings["added_tokens"]}
        for index, text in self._added.items():  # the text itself, not the stand-ins of its bytes
            if self._bytes[index] not in (b"", text.encode()):
                raise TaleError(f"its added token {text!r} has the id of a token that stands for another text")
            self._bytes[index] = text.encode()
        self._bytes[self.end_of_text] = b""
        if not {bytes([byte]) for byte in range(256)} <= set(self._bytes):
            raise TaleError("the tokenizer lacks a token for some byte, so it would lose text")
        if self.end_of_text in self._merge(END_OF_TEXT):
            raise TaleError(f"the tokenizer does not keep text that spells {END_OF_TEXT} apart from the token")
        self._encode = WordEncoder(self._merge, self.dtype) if splits_like_gpt2(settings) else self._encode_whole
        self._try_out()

    def _try_out(self) -> None:
        """Send a text there and back, twice: what loses text, or encodes it otherwise each time, shows here."""
        text = PROBE + "".join(f" {token}  {token}\n" for token in list(self._added.values())[:PROBED])
        ids = self._merge(text)
        if self.decode(ids) != text or not ids == self._merge(text) == self.encode(text):
            raise TaleError("the tokenizer loses text, or encodes a text otherwise each time")

    def fitted(self, rows: int) -> "Tokenizer":
        """This tokenizer for a model that knows `rows` tokens: without added tokens beyond these, as transformers adds.

        Raises:
            TaleError: a token beyond these is one that text can hold, so the two do not belong together.
        """
        if self.vocab_size <= rows:
            return self
        names = self.engine.get_vocab(with_added_tokens=True)
        for token, index in names.items():
            if index >= rows and index not in self._added:
                raise TaleError(
                    f"the tokenizer has {self.vocab_size} tokens, its model knows {rows}; {token!r} belongs to another"
                    " model"
                )
        settings = json.loads(self.engine.to_str())
        settings["added_tokens"] = [token for token in settings["added_tokens"] if token["id"] < rows]
        settings["model"]["vocab"] = {token: n for token, n in settings["model"]["vocab"].items() if n < rows}
        return Tokenizer(_engine(settings))

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


def load_tokenizer(spec: str | Path, rows: int | None = None) -> Tokenizer:
    """A tokenizer from a folder with `tokenizer.json`, or with `vocab.json` and `merges.txt`; or `gpt2` from the Hub.

    Args:
        spec: the folder, or `gpt2`.
        rows: how many tokens the model knows that it is for; added tokens beyond these are left out.

    Raises:
        UsageError: there is no such folder, or neither kind of file in it.
        TaleError: the files are damaged, the tokenizer is not byte-level BPE, it lacks `<|endoftext|>`, it belongs to a
            model that knows more tokens, or the Hub cannot be reached.
    """
    tokenizer = _load(spec)
    return tokenizer if rows is None else _guarded(Path(spec), lambda: tokenizer.fitted(rows))


def _load(spec: str | Path) -> Tokenizer:
    if spec == "gpt2":
        files = [_gpt2_file(name) for name in GPT2_FILES]
        return _guarded(files[0], lambda: _from_settings(_of_merges(*files)))
    folder = Path(spec).expanduser()
    whole, vocabulary, merges = folder / TOKENIZER_FILE, folder / "vocab.json", folder / "merges.txt"
    if whole.is_file():
        return read_tokenizer(whole)
    if vocabulary.is_file() and merges.is_file():
        return _guarded(vocabulary, lambda: _from_settings(with_tokens_beside(_of_merges(vocabulary, merges), folder)))
    raise UsageError(
        f"no tokenizer in {str(spec)!r}; expected gpt2, or a folder with {TOKENIZER_FILE}, or with vocab.json and "
        "merges.txt"
    )


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json` and what stands beside it, leaving out anything by which it would add, cut or pad.

    Raises:
        TaleError: it is damaged or of another kind; the message names it.
    """
    return _guarded(path, lambda: _from_settings(with_tokens_beside(_json(path), path.parent)))


def _from_settings(settings: dict[str, Any]) -> Tokenizer:
    """The tokenizer of what a `tokenizer.json` holds: every one that is read from a file passes here.

    Tokens that were added as special are found in text, as transformers finds them; `<|endoftext|>` alone is not.
    """
    check_byte_level(settings, END_OF_TEXT)  # before the engine sees it, which runs what it reads
    added = [token | {"special": token["content"] == END_OF_TEXT} for token in settings.get("added_tokens") or ()]
    return Tokenizer(_engine(settings | {"added_tokens": added}))


def _engine(settings: dict[str, Any]) -> "Engine":
    from tokenizers import Tokenizer as Engine

    return Engine.from_str(json.dumps(settings | {"post_processor": None, "truncation": None, "padding": None}))


def _json(path: Path) -> dict[str, Any]:
    refuse_lfs_pointer(path)
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _of_merges(vocabulary: Path, merges: Path) -> dict[str, Any]:
    """GPT-2's own format as what a `tokenizer.json` holds."""
    refuse_lfs_pointer(merges)
    known = _json(vocabulary)
    lines = [line.rstrip("\r") for line in merges.read_text(encoding="utf-8-sig").split("\n")]
    pairs = [line for line in lines if line and not line.startswith("#version")]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    ends = [added_token(END_OF_TEXT, known[END_OF_TEXT])] if END_OF_TEXT in known else []
    return {
        "version": "1.0",
        "added_tokens": ends,
        "pre_tokenizer": byte_level,
        "decoder": byte_level | {"add_prefix_space": True},
        "model": {"type": "BPE", "vocab": known, "merges": pairs},
    }


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

    from tinytale.addons.hub.client import check_home

    check_home()
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
