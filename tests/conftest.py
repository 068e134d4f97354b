"""What every test shares: the runtime type checker, the switches, and a rule about skips."""

import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from tinytale.training.trainer import Trainer

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models of tests are too small to share between cores

for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)  # a parallel worker has them, and the console would keep them for good

REPOSITORY = Path(__file__).parent.parent
SOURCES = REPOSITORY / "src"
WITH_SHAPES = [
    ".".join(path.relative_to(SOURCES).with_suffix("").parts)
    for path in SOURCES.rglob("*.py")
    if "from jaxtyping" in path.read_text(encoding="utf-8")
]
hook = install_import_hook(WITH_SHAPES, "beartype.beartype")
hook.__enter__()  # for the whole session: in modules that state shapes, every annotated shape and type is checked


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", action="store_true", help="also run comparisons against heavy peers")
    parser.addoption("--full", action="store_true", help="repeat faults and abuse as often as it takes to be sure")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests first: one of minutes, begun last, would keep all cores but one waiting."""
    items.sort(key=lambda item: "slow" not in item.keywords)
    if not config.getoption("--peers"):
        for item in items:
            if "peers" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="a comparison with a heavy peer: python3 run.py test --peers"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Where the machine has everything (TINYTALE_NO_SKIPS), a skip that is not about peers is a failure."""
    report = yield
    if report.skipped and os.environ.get("TINYTALE_NO_SKIPS") and "peers" not in item.keywords:
        report.outcome = "failed"
        report.longrepr = f"unexpected skip: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def count(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """`count(few, all)`: how often a fault is tried; all with `python3 run.py test --full`."""
    return lambda few, full: full if pytestconfig.getoption("--full") else few


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """The native decoder and choice are compiled before the first test, so that no command tells of it."""
    from tinytale.config import ModelConfig
    from tinytale.generation.native_choice import available
    from tinytale.generation.native_decoder import why_not

    why_not(ModelConfig())
    available()


@pytest.fixture
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset of built-in stories, with 300 tokens; not to be changed."""
    from tinytale.data.prepare import prepare

    folder = tmp_path_factory.mktemp("datasets") / "tiny"
    prepare("builtin", folder, stories=300, vocab_size=300, processes=1)
    return folder


TINY_MODEL = {"layers": 2, "heads": 2, "width": 16, "context_length": 16}
TINY_RUN = {"max_steps": 8, "evaluate_every": 4, "evaluate_tokens": 100, "precision": "float32"}


@pytest.fixture
def trainer(dataset: Path) -> Callable[..., "Trainer"]:
    """`trainer(folder, model={...}, data={...}, ...)`: a tiny run with these settings, begun or resumed in `folder`."""
    from tinytale.config import TrainConfig, override
    from tinytale.runs import RunFolder
    from tinytale.training.samples import Tell
    from tinytale.training.session import Dataset, Session
    from tinytale.training.trainer import Trainer, resume

    data = Dataset(dataset)

    class Silent:
        def step(self, step: int, loss: float) -> None: ...
        def evaluated(self, step: int, loss: float, bits_per_byte: float, best_step: int) -> None: ...
        def note(self, text: str) -> None: ...

    def make(folder: Path, tell: Tell | None = None, **changes: dict) -> Trainer:
        defaults = {"model": TINY_MODEL | {"vocab_size": 300}, "data": {"batch_size": 4}, "run": TINY_RUN}
        config = override(override(TrainConfig(), defaults), changes)
        session = Session(config, RunFolder(folder), data)
        resume(session.folder, session.state)
        return session.trainer(Silent(), tell)

    return make


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def tale(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`tale("evaluate", folder, ...)`: the command line, in this process."""
    from tinytale.cli import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["tinytale", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "1000")  # no line of a message is broken
        with pytest.raises(SystemExit) as ending:
            main()
        assert isinstance(ending.value.code, int)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Outcome(ending.value.code, said.out, said.err)

    return run


@pytest.fixture
def judge_server() -> Iterator[Any]:
    """A server with OpenAI's interface whose model grades stories: `tests/addons/judge/judge_server.py`."""
    spec = importlib.util.spec_from_file_location("judge_server", REPOSITORY / "tests/addons/judge/judge_server.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.JudgeServer() as server:
        yield server


@pytest.fixture(scope="session")
def train_options() -> list[str]:
    """A tiny run, as options of `tinytale train`."""
    model = [f"--model.{name.replace('_', '-')}={value}" for name, value in TINY_MODEL.items()]
    rest = ["--data.batch-size=4", "--run.precision=float32", "--run.device=cpu"]
    return [*model, *rest, "--run.evaluate-tokens=100"]


@pytest.fixture(scope="session")
def spawn_tale() -> Iterator[Callable[..., BaseProcess]]:
    """`spawn_tale("train", dataset, ..., before="code")`: the command line in a process of its own, begun at once.

    The processes are forked from one that has imported torch already, so that each starts in milliseconds. `before` is
    run first: it sets limits and faults.
    """
    if not hasattr(os, "fork"):
        pytest.skip("needs fork: faults are tested on Linux and macOS")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "tinytale.training.trainer", "tinytale.cli", "tokenizers"])
    code = "import sys; exec(before); sys.argv = arguments; from tinytale.cli import main; main()"

    def spawn(*arguments: object, before: str = "", log: Path = Path(os.devnull)) -> BaseProcess:
        redirect = f"import sys\nsys.stdout = sys.stderr = open({str(log)!r}, 'w', encoding='utf-8', buffering=1)\n"
        variables = {"arguments": ["tinytale", *map(str, arguments)], "before": redirect + before}
        process = context.Process(target=exec, args=(code, variables), daemon=True)
        process.start()
        begun.append(process)
        return process

    begun: list[BaseProcess] = []
    yield spawn
    for process in begun:
        process.kill()


@pytest.fixture
def few_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and short ones, so that the full suite takes a moment."""
    from tinytale.addons.quality import suite  # before the settings are replaced: it names them as a type

    version, prompts = suite.read_prompts()
    monkeypatch.setattr(suite, "read_prompts", lambda: (version, prompts[::9]))
    listed, openings = suite.read_openings()
    few = {naming: some[:2] for naming, some in openings.items()}
    monkeypatch.setattr(suite, "read_openings", lambda: (listed, few))
    short = suite.CompletionSettings(max_new_tokens=2, beams=2, seeds=(0,))
    monkeypatch.setattr("tinytale.addons.quality.completions.CompletionSettings", lambda: short)
