import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx2
import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2


@pytest.fixture(scope="session")
def model(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 folder with random weights, which tells nonsense at length."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("served") / "tiny"
    tokenizer = load_tokenizer(str(dataset))
    network = GPT2(ModelConfig(vocab_size=tokenizer.vocab_size, context_length=128, layers=2, heads=2, width=16))
    with torch.no_grad():
        network.embedding.weight_VC[tokenizer.end_of_text] = -1.0  # rarely ends by itself
    save_model(folder, network, tokenizer.end_of_text, (dataset / "tokenizer.json").read_bytes())
    return folder


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    url: str
    process: BaseProcess
    log: Path


@pytest.fixture(scope="session")
def start_server(spawn_tale: Callable[..., BaseProcess], tmp_path_factory) -> Callable[..., Running]:
    """`start_server(folder, ..., before="code")`: ready when it returns."""

    def start(*arguments: object, before: str = "") -> Running:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = tmp_path_factory.mktemp("server") / "log"
        process = spawn_tale("serve", *arguments, "--port", port, before=before, log=log)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx2.get(f"{url}/health").status_code == 200:
                    return Running(url, process, log)
            except httpx2.TransportError:
                assert process.is_alive() and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)

    return start


@pytest.fixture(scope="session")
def server(start_server, model: Path) -> Iterator[Running]:
    """A server of one tiny model, for all tests that leave it as it is."""
    running = start_server(model, "--slots", "4", "--waiting", "8")
    yield running
    running.process.terminate()
    running.process.join(15)
