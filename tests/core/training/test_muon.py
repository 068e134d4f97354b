import math

import numpy as np
import pytest
import torch

from tinytale.training.muon import Muon, orthogonalise


def newton_schulz(matrix: np.ndarray) -> np.ndarray:
    """The iteration of Jordan et al. (2024), one matrix at a time, in plain numpy."""
    x = matrix / np.sqrt((matrix**2).sum())
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x @ x.T @ x + 2.0315 * x @ x.T @ x @ x.T @ x
    return x


def muon_in_numpy(
    weight: np.ndarray, gradients: list[np.ndarray], parts: int, rate: float, beta: float, decay: float
) -> np.ndarray:
    pieces = []
    for piece, *piece_gradients in zip(*(np.split(array, parts) for array in (weight, *gradients)), strict=True):
        momentum = np.zeros_like(piece)
        for gradient in piece_gradients:
            momentum = beta * momentum + (1 - beta) * gradient
            direction = newton_schulz(beta * momentum + (1 - beta) * gradient)
            piece = piece * (1 - rate * decay)
            piece = piece - rate * math.sqrt(max(1, piece.shape[0] / piece.shape[1])) * direction
        pieces.append(piece)
    return np.concatenate(pieces)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytale.training.muon.multiplies_bfloat16", lambda device: False)


@pytest.mark.parametrize(("shape", "parts"), [((8, 8), 1), ((32, 8), 1), ((8, 32), 1), ((24, 8), 3)], ids=str)
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_muon_is_the_plain_rendering_in_float64(shape, parts: int, decay: float, exact: None):
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=shape), [random.normal(size=shape) for _ in range(3)]
    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    alike = torch.nn.Parameter(torch.from_numpy(start.copy()))  # orthogonalised in one stack with the first
    optimiser = Muon([{"params": [weight, alike], "parts": parts}], lr=0.1, momentum=0.9, weight_decay=decay)
    for gradient in gradients:
        weight.grad, alike.grad = torch.from_numpy(gradient), torch.from_numpy(gradient)
        optimiser.step()
    expected = muon_in_numpy(start, gradients, parts, rate=0.1, beta=0.9, decay=decay)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=0, atol=1e-6)  # 1e-7 guards the norm
    assert torch.equal(weight, alike)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(128, 128), (128, 512), (512, 128)], ids=str)
def test_every_direction_gets_about_the_same_length(dtype, shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalise(matrices.to(dtype)).float()
    lengths = torch.linalg.svdvals(result)
    assert lengths.max() < 1.3
    assert lengths.quantile(0.05) > 0.6
    turned = torch.einsum("nrk,nrc,nkc->nk", u, result, v)  # along the same pairs of directions
    torch.testing.assert_close(turned.sum(-1), lengths.sum(-1), rtol=0.02, atol=0)


def test_scale_does_not_matter():
    matrix = torch.randn(1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(orthogonalise(matrix), orthogonalise(matrix * 1000), rtol=0, atol=1e-6)


def test_a_gradient_of_zeros_moves_nothing():
    weight = torch.nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon([{"params": [weight], "parts": 1}]).step()
    assert torch.equal(weight, torch.ones(4, 4))
