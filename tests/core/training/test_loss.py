import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinytale.training.loss import WindowLoss, summed_loss, token_nats, windows


def test_nats_by_hand():
    logits_BTV = torch.tensor([[[math.log(1), math.log(2), math.log(5)], [0.0, 0.0, 0.0]]])
    nats = token_nats(logits_BTV, torch.tensor([[1, 2]]))
    torch.testing.assert_close(nats, torch.tensor([[math.log(8 / 2), math.log(3)]]))


class Constant(torch.nn.Module):
    def __init__(self, logits_BTV: torch.Tensor):
        super().__init__()
        self.logits_BTV = logits_BTV

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        return self.logits_BTV


@pytest.mark.parametrize(
    ("given_type", "computed"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_the_loss_is_computed_in_at_least_float32(given_type, computed):
    logits_BTV = torch.randn(2, 3, 5, dtype=given_type)
    targets_BT = torch.tensor([[0, 1, 2], [3, 4, 0]])
    summed = summed_loss(Constant(logits_BTV), targets_BT, targets_BT)
    assert token_nats(logits_BTV, targets_BT).dtype == summed.dtype == computed
    torch.testing.assert_close(summed, -logits_BTV.to(computed).log_softmax(-1).gather(-1, targets_BT[..., None]).sum())


@given(length=st.integers(0, 60), context_length=st.integers(1, 20), batch_size=st.integers(1, 5))
def test_every_token_but_the_first_is_a_target_once_and_in_order(length: int, context_length: int, batch_size: int):
    stream_N = np.arange(length, dtype=np.uint16)
    targets = []
    for inputs_BT, targets_BT in windows(stream_N, context_length, batch_size):
        assert torch.equal(inputs_BT + 1, targets_BT)
        assert inputs_BT.shape[0] <= batch_size and inputs_BT.shape[1] <= context_length
        targets += targets_BT.flatten().tolist()
    assert targets == list(range(1, length))


def test_the_mean_divides_once():
    assert WindowLoss(nats=6.0, tokens=4).per_token == 1.5
