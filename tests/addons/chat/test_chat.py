import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tinytale
from tinytale.addons.chat.commands import Talk
from tinytale.config import ModelConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.errors import NotFiniteError, UsageError
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2


@pytest.fixture
def model(dataset: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = load_tokenizer(str(dataset))
    network = GPT2(ModelConfig(vocab_size=tokenizer.vocab_size, context_length=128, layers=1, heads=2, width=16))
    save_model(tmp_path / "tiny", network, tokenizer.end_of_text, (dataset / "tokenizer.json").read_bytes())
    return tmp_path / "tiny"


@pytest.fixture
def chat(tale, model: Path, monkeypatch: pytest.MonkeyPatch):
    def talk(*lines: str):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return tale("chat", model, "--max-new-tokens", "8", "--seed", "3")

    return talk


def told(model: Path, text: str, seed: int, **settings: float) -> str:
    return "".join(tinytale.load(model).stream(text, max_new_tokens=8, seed=seed, **settings))


def test_a_story_goes_on_turn_by_turn(chat, model: Path, tmp_path: Path):
    first = "The cat" + told(model, "The cat", seed=4)
    gap = "" if first[-1].isspace() else " "
    whole = first + gap + "sat." + told(model, first + gap + "sat.", seed=5, temperature=0.5)
    said = chat("The cat", "/temperature 0.5", "sat.", f"/save {tmp_path / 'tale.txt'}", "/quit", "never read")
    assert said.code == 0 and (tmp_path / "tale.txt").read_text(encoding="utf-8") == whole + "\n"
    assert said.out == first.removeprefix("The cat") + "\n" + whole[len(first + gap + "sat.") :] + "\n"


def test_a_turn_is_taken_back_or_told_anew(chat, model: Path, tmp_path: Path):
    chat("The cat", "/again", f"/save {tmp_path / 'again'}", "/undo", f"/save {tmp_path / 'none'}")
    assert (tmp_path / "again").read_text() == "The cat" + told(model, "The cat", seed=5) + "\n"
    assert (tmp_path / "none").read_text() == "\n"
    chat("The cat", "/new", "/seed 9", "The dog", f"/save {tmp_path / 'new'}")
    assert (tmp_path / "new").read_text() == "The dog" + told(model, "The dog", seed=10) + "\n"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("/undo", "no turn to take back"),
        ("/seed many", "'many' is not a number"),
        ("/temperature 0", "out of range"),
        ("/save", "/save FILE"),
        ("/dance", "/undo"),
        ("help", "/undo"),
    ],
)
def test_a_command_that_cannot_be_followed_is_explained_and_the_talk_goes_on(chat, line: str, answer: str):
    said = chat(line, "The cat")
    assert said.code == 0 and answer in said.err and said.out


def test_a_turn_that_fails_changes_nothing(model: Path, monkeypatch: pytest.MonkeyPatch):
    teller = tinytale.load(model)
    talk = Talk(teller, 0.6, 8, 3, teller.decoder(1))
    talk.take("The cat")
    before = talk.turns.copy(), talk.lines.copy(), talk.seed
    with pytest.raises(UsageError, match="half a character"):
        talk.take("\ud800")
    with monkeypatch.context() as patched:
        patched.setattr(teller, "stream", breaks_off)
        for line in ("sat.", "/again"):
            with pytest.raises(NotFiniteError):
                talk.take(line)
    assert before == (talk.turns, talk.lines, talk.seed)
    talk.take("sat.")
    assert len(talk.turns) == 2


def breaks_off(*_: object, **__: object) -> Iterator[str]:
    yield " a piece"
    raise NotFiniteError


def test_bytes_that_are_no_text_are_shown_and_told_on(tale, model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"The c\xe4t\n"), encoding="utf-8"))
    said = tale("chat", model, "--max-new-tokens", "8", "--seed", "3")
    assert said.code == 0 and said.out == told(model, "The c\ufffdt", seed=4) + "\n"


@pytest.mark.parametrize("line", ["/seed " + "9" * 5000, "/temperature " + "9" * 5000, "/temperature nan"])
def test_a_number_that_is_none_is_answered_in_one_line(chat, line: str):
    said = chat(line)
    assert said.code == 0 and len(said.err.splitlines()[-1]) < 90
