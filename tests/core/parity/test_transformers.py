"""The same weights in transformers.GPT2LMHeadModel give the same logits, gradients and AdamW step."""

from pathlib import Path

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from tinytale.config import DataConfig, ModelConfig, OptimiserConfig, RunConfig, TrainConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.model.folder import hugging_face_name, load_model, save_model
from tinytale.model.gpt2 import GPT2
from tinytale.training.loop import TrainState, train_step
from tinytale.training.loss import plain_loss, summed_loss
from tinytale.training.optim import Optimiser

CONFIG = ModelConfig(vocab_size=97, context_length=24, layers=3, heads=4, width=32, layer_norm_epsilon=1e-4)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
INPUTS_BT, TARGETS_BT = torch.randint(97, (2, 4, 23), generator=torch.Generator().manual_seed(5))


def randomise(model: torch.nn.Module, std: float) -> None:
    torch.manual_seed(7)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)


def ours_to_theirs(folder: Path, kernels, dtype: torch.dtype):
    ours = GPT2(CONFIG, kernels).to(dtype)
    randomise(ours, 0.15)
    save_model(folder, ours, end_of_text=0, dtype=dtype)
    return ours, transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager")


def theirs_to_ours(folder: Path, kernels, dtype: torch.dtype):
    config = transformers.GPT2Config(
        vocab_size=97,
        n_positions=24,
        n_layer=3,
        n_head=4,
        n_embd=32,
        layer_norm_epsilon=1e-4,
        bos_token_id=0,
        eos_token_id=0,
    )
    theirs = transformers.GPT2LMHeadModel(config).to(dtype).eval()
    randomise(theirs, 0.15)
    theirs.save_pretrained(folder)
    return load_model(folder, kernels, dtype), theirs


@pytest.fixture(params=[ours_to_theirs, theirs_to_ours], ids=lambda give: give.__name__)
def give(request):
    return request.param


def their_gradients(theirs) -> dict[str, torch.Tensor]:
    return {name.removeprefix("transformer."): parameter.grad for name, parameter in theirs.named_parameters()}


def assert_same(ours: dict, theirs: dict, tolerance: float) -> None:
    """Compare tensors by our names with tensors by theirs, of which none may be left over."""
    for name, tensor in ours.items():
        wanted, transposed = hugging_face_name(name)
        other = theirs.pop(wanted)
        torch.testing.assert_close(tensor, other.T if transposed else other, rtol=0, atol=tolerance, msg=name)
    assert not theirs


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kernels", ["textbook", "fused"])
def test_logits_and_all_gradients_are_those_of_transformers(give, kernels, dtype, tmp_path: Path):
    ours, theirs = give(tmp_path, kernels, dtype)
    logits_BTV = theirs(INPUTS_BT).logits
    torch.testing.assert_close(ours(INPUTS_BT), logits_BTV, rtol=0, atol=TOLERANCE[dtype])
    (summed_loss(ours, INPUTS_BT, TARGETS_BT) / TARGETS_BT.numel()).backward()
    cross_entropy(logits_BTV.flatten(0, 1), TARGETS_BT.flatten()).backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert_same(gradients, their_gradients(theirs), TOLERANCE[dtype])


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("clip_norm", [0.0, 0.1])
@pytest.mark.parametrize("kernels", ["textbook", "fused"])
def test_weights_after_adamw_steps_are_those_of_transformers(
    give, kernels, clip_norm: float, steps: int, tmp_path: Path
):
    ours, theirs = give(tmp_path, kernels, torch.float64)
    settings = OptimiserConfig(
        learning_rate=0.02, warmup_steps=3, weight_decay=0.3, clip_norm=clip_norm, betas=(0.8, 0.9)
    )
    state = TrainState(
        config=TrainConfig(
            model=ours.config, data=DataConfig(micro_batch_size=2, batch_size=4), optimiser=settings, run=RunConfig()
        ),
        max_steps=10,
        model=ours.eval(),
        optimiser=Optimiser(ours, settings),
        device=torch.device("cpu"),
        precision="float32",
        loss=plain_loss,
    )
    before = {name: parameter.detach().clone() for name, parameter in ours.named_parameters()}
    for _ in range(steps):
        train_step(state, INPUTS_BT, TARGETS_BT)

    norms_and_biases = [p for name, p in theirs.named_parameters() if "ln_" in name or name.endswith("bias")]
    matrices = [p for name, p in theirs.named_parameters() if not ("ln_" in name or name.endswith("bias"))]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": norms_and_biases, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, betas=(0.8, 0.9), eps=1e-8)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.02 * (step + 1) / 4  # the warm-up
        optimiser.zero_grad()
        cross_entropy(theirs(INPUTS_BT).logits.flatten(0, 1), TARGETS_BT.flatten()).backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)
        optimiser.step()

    after = dict(ours.named_parameters())
    assert all(not torch.equal(before[name], after[name]) for name in after)
    assert_same(after, {n.removeprefix("transformer."): p for n, p in theirs.named_parameters()}, 1e-10)


def test_bfloat16_weights_come_back_equal_in_both_programs(tmp_path: Path):
    ours = GPT2(CONFIG).to(torch.bfloat16).float()
    save_model(tmp_path, ours, end_of_text=0, dtype=torch.bfloat16)
    back, theirs = load_model(tmp_path), transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    assert theirs.dtype == torch.bfloat16
    for name, tensor in ours.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    assert_same(ours.state_dict(), {n.removeprefix("transformer."): p.float() for n, p in theirs.named_parameters()}, 0)


def test_dropout_is_read_and_written_on_all_three_places(tmp_path: Path):
    save_model(tmp_path, GPT2(ModelConfig(vocab_size=9, layers=1, width=12, dropout=0.25)), end_of_text=8)
    theirs = transformers.GPT2Config.from_pretrained(tmp_path)
    assert (theirs.embd_pdrop, theirs.attn_pdrop, theirs.resid_pdrop) == (0.25, 0.25, 0.25)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (8, 8)
    assert load_model(tmp_path).config.dropout == 0.25


def test_the_saved_tokenizer_gives_our_ids_in_transformers(dataset: Path, tmp_path: Path):
    tokenizer = load_tokenizer(dataset)
    save_model(tmp_path, GPT2(CONFIG), tokenizer.end_of_text, (dataset / "tokenizer.json").read_bytes())
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("Once upon a time, Lily's cat (3 kg!) sang.\n\n  Zoë naïve 日本 🎈", " a", ""):
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text)) == text
    assert theirs.bos_token_id == theirs.eos_token_id == tokenizer.end_of_text
    assert theirs.model_max_length == 24


@pytest.mark.parametrize("fields", [{"norm": "post"}, {"positions": "sinusoidal"}], ids=str)
def test_a_variant_that_gpt2_is_not_is_refused_by_transformers(fields, tmp_path: Path):
    save_model(tmp_path, GPT2(ModelConfig(vocab_size=9, layers=1, width=12, **fields)), end_of_text=8)
    with pytest.raises(ValueError, match="tinytale"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)


def test_greedy_generation_is_that_of_transformers(give, tmp_path: Path):
    from tinytale.generation.decoding import Decoding, generate, random_numbers

    ours, theirs = give(tmp_path, "fused", torch.float64)
    expected = theirs.generate(INPUTS_BT[:1, :5], max_new_tokens=15, do_sample=False, eos_token_id=96, pad_token_id=96)
    tokens = generate(ours, INPUTS_BT[0, :5].tolist(), Decoding(greedy=True).choice(), random_numbers(0, 0), 15, 96)
    assert [token for token in expected[0, 5:].tolist() if token != 96] == list(tokens)


@pytest.mark.parametrize("beams", [2, 5])
def test_beam_search_finds_what_transformers_finds(give, beams: int, tmp_path: Path):
    from tinytale.generation.beam import beam_search
    from tinytale.generation.torch_decoder import TorchDecoder

    ours, theirs = give(tmp_path, "textbook", torch.float64)
    lengths = set()
    for end in (7, 27, 48, 73, 91):  # each ends some text
        expected = theirs.generate(
            INPUTS_BT[:1, :4], max_new_tokens=16, num_beams=beams, do_sample=False, eos_token_id=end, pad_token_id=end
        )
        found = beam_search(TorchDecoder(ours, beams), INPUTS_BT[0, :4].tolist(), beams, 16, end)
        assert found == [token for token in expected[0, 4:].tolist() if token != end]
        lengths.add(len(found))
    assert len(lengths) > 1


def test_samplers_in_their_order_leave_the_distribution_of_transformers():
    from transformers.generation import logits_process as theirs

    from tinytale.generation import sampling as ours

    text = [3, 1, 4, 1, 5, 9, 2, 6]
    processors = (
        theirs.RepetitionPenaltyLogitsProcessor(1.3),
        theirs.TemperatureLogitsWarper(0.7),
        theirs.TopKLogitsWarper(40),
        theirs.TopPLogitsWarper(0.95),
        theirs.MinPLogitsWarper(0.02),
    )
    samplers = (ours.temperature(0.7), ours.top_k(40), ours.top_p(0.95), ours.min_p(0.02))
    for logits_V in torch.randn(20, 97, generator=torch.Generator().manual_seed(0)) * 3:
        expected_V = logits_V
        for count, processor in enumerate(processors):
            expected_V = processor(torch.tensor([text]), expected_V[None])[0]
            shaped_V = ours.compose(*samplers[:count])(ours.repetition_penalty(1.3)(logits_V, text))
            torch.testing.assert_close(shaped_V.softmax(-1), expected_V.softmax(-1), rtol=0, atol=1e-6)
