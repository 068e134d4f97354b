import threading
from pathlib import Path

import pytest
import torch

from tinytale.addons.serve.scheduler import ClosingError, Job, QueueFullError, Scheduler
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import UsageError
from tinytale.generation.decoding import Decoding, random_numbers
from tinytale.generation.stories import Writer
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.folder import load_model


@pytest.fixture
def tokenizer(model: Path) -> Tokenizer:
    return load_tokenizer(str(model))


@pytest.fixture
def scheduler(model: Path, tokenizer: Tokenizer):
    made = Scheduler(TorchDecoder(load_model(model), 2), tokenizer.end_of_text, waiting_room=3)
    yield made
    made.close(0.0)


@pytest.fixture
def job(tokenizer: Tokenizer):
    def make(choose=None, tokens: int = 5) -> tuple[Job, threading.Event]:
        ended = threading.Event()
        choice, randoms = choose or Decoding().choice(), random_numbers(0, 0)
        made = Job([tokenizer.end_of_text], choice, randoms, Writer(tokenizer), tokens)
        made.on_change = lambda: ended.set() if made.done else None
        return made, ended

    return make


def test_a_story_that_fails_fails_alone(scheduler: Scheduler, job):
    def stumbles(logits_V: torch.Tensor, tokens, randoms) -> int:
        if len(tokens) == 3:
            raise RuntimeError("stumbled")
        return 5 + len(tokens)

    (bad, bad_ended), (good, good_ended) = job(stumbles), job()
    scheduler.submit([bad, good])
    assert bad_ended.wait(20) and good_ended.wait(20)
    assert (bad.error, good.error) == ("stumbled", "") and len(good.writer.tokens) == 5
    assert scheduler.counters.failed == 1 and scheduler.telling == 0
    after, after_ended = job()
    scheduler.submit([after])
    assert after_ended.wait(20) and not after.error


def test_all_of_a_request_waits_or_nothing_of_it(scheduler: Scheduler, job):
    held = threading.Event()
    busy, ended = job(lambda logits_V, tokens, randoms: held.wait(20) and 5)
    scheduler.submit([busy])
    with pytest.raises(QueueFullError):
        scheduler.submit([job()[0] for _ in range(5)])
    assert scheduler.waiting + scheduler.telling == 1
    held.set()
    assert ended.wait(20)


def test_what_can_never_find_room_is_no_reason_to_ask_again(scheduler: Scheduler, job):
    with pytest.raises(UsageError, match="n is 6, and this server has room for 5 stories in all"):
        scheduler.submit([job()[0] for _ in range(6)])
    assert scheduler.waiting == scheduler.telling == 0


def test_what_is_cancelled_is_dropped_wherever_it_is(scheduler: Scheduler, job):
    release = threading.Event()

    def holds(logits_V: torch.Tensor, tokens, randoms) -> int:
        release.wait(20)
        return 5

    jobs = [job(holds, 100), job(holds, 100), job()]
    scheduler.submit([made for made, _ in jobs])
    for made, _ in jobs:
        made.cancelled = True
    release.set()
    assert all(ended.wait(20) for _, ended in jobs)
    assert {made.error for made, _ in jobs} == {"cancelled"} and len(jobs[0][0].writer.tokens) < 100


def test_after_closing_nothing_is_taken_and_what_is_left_is_told_why(scheduler: Scheduler, job):
    made, ended = job(lambda logits_V, tokens, randoms: 5, 10**9)
    scheduler.submit([made])
    scheduler.close(0.2)
    assert ended.wait(20) and made.error == "the server is shutting down"
    with pytest.raises(ClosingError):
        scheduler.submit([job()[0]])


def test_what_is_cancelled_is_read_no_further_than_two_tokens(scheduler: Scheduler, job, monkeypatch):
    told = []

    def steps(logits_V: torch.Tensor, tokens, randoms) -> int:
        told.append(len(tokens))
        if len(told) == 4:
            made.cancelled = True
        return 5

    made, ended = job(steps, 100)
    scheduler.submit([made])
    assert ended.wait(20) and len(told) <= 6 and scheduler.telling == 0


def test_a_story_wakes_its_client_at_its_first_token_now_and_then_and_at_its_end(
    scheduler: Scheduler, job, monkeypatch
):
    for name in ("PIECE_SECONDS", "MOST_PIECE_SECONDS"):
        monkeypatch.setattr(f"tinytale.addons.serve.scheduler.{name}", 1e9)
    woken, ended = [], threading.Event()
    made, _ = job(tokens=9)

    def on_change() -> None:
        woken.append(len(made.writer.tokens))
        if made.done:
            ended.set()

    made.on_change = on_change
    scheduler.submit([made])
    assert ended.wait(20) and woken == [1, 9]
