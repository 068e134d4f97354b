from pathlib import Path

import pytest

from tinytale.errors import TaleError
from tinytale.training.metrics import MetricsWriter, read_metrics, read_new_metrics


def test_lines_come_back_in_order(tmp_path: Path):
    with MetricsWriter(tmp_path / "run" / "metrics.jsonl", 0, 0) as metrics:
        metrics.write({"step": 1, "loss": None})
        metrics.write({"step": 2, "loss": 0.1})
        assert [entry["step"] for entry in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2]  # at once


def test_a_resumed_run_drops_what_lies_beyond_its_checkpoint(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 2, "dev_loss": 1}\n{"step": 3}\n')
    with MetricsWriter(path, 2, 2) as metrics:
        metrics.write({"step": 3, "loss": 7})
    assert list(read_metrics(path)) == [{"step": 1}, {"step": 2}, {"step": 2, "dev_loss": 1}, {"step": 3, "loss": 7}]


@pytest.mark.parametrize("cut", [b'{"step": 2', b'{"step": 2, "loss": 1.\xff', b"\n"])
def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path, cut: bytes):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + cut)
    assert list(read_metrics(tmp_path / "metrics.jsonl")) == [{"step": 1}]


def test_a_damaged_line_hides_no_other(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"stfp": 2}\n{"step": 3}\n')
    assert list(read_metrics(path)) == [{"step": 1}, {"step": 3}]
    assert read_new_metrics(path, 0) == ([{"step": 1}, {"step": 3}], 36)


def test_half_a_pair_of_characters_is_read_as_a_question_mark(tmp_path: Path):
    (tmp_path / "samples.jsonl").write_bytes(b'{"step": 1, "text": "a\\ud83d\\uDE00b\\uD83Dc"}\n')
    assert list(read_metrics(tmp_path / "samples.jsonl")) == [{"step": 1, "text": "a\U0001f600b?c"}]


def test_no_file_has_no_lines(tmp_path: Path):
    assert list(read_metrics(tmp_path / "metrics.jsonl")) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(TaleError, match=r"cannot write .*metrics\.jsonl"):
        MetricsWriter(tmp_path / "metrics.jsonl", 0, 0)


def test_who_follows_a_run_reads_only_what_is_new(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    assert read_new_metrics(path, 0) == read_new_metrics(path, 99) == ([], 0)
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"step"')
    assert read_new_metrics(path, 0) == ([{"step": 1}, {"step": 2}], 24)
    assert read_new_metrics(path, 24) == ([], 24)  # a line that is still being written waits
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    assert read_new_metrics(path, 24) == ([{"step": 3}], 36)


@pytest.mark.parametrize("start", [5, 36, 2**61])
def test_a_run_that_was_begun_anew_is_read_from_its_start(tmp_path: Path, start: int):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n')
    assert read_new_metrics(tmp_path / "metrics.jsonl", start) == ([], 0)
