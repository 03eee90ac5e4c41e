"""Networks, optimizer and text generation of language models."""

from typing import Any

import pytest
import torch
from conftest import options
from torch import Tensor
from torch.nn.functional import cross_entropy

from {{ cookiecutter.package_name }}.models.generate import generate, sample_token
from {{ cookiecutter.package_name }}.models.gpt import GPT
from {{ cookiecutter.package_name }}.models.language_model import LanguageModel
from {{ cookiecutter.package_name }}.models.lstm import LSTM
from {{ cookiecutter.package_name }}.models.muon import MuonAdamW
from {{ cookiecutter.package_name }}.models.optimization import parameter_groups

NETWORKS = {"gpt": GPT, "lstm": LSTM}
VOCABULARY, CONTEXT = 40, 12


def network(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    made = NETWORKS[name](VOCABULARY, CONTEXT, width=16, layers=2, **options)
    for parameter in made.parameters():  # large enough for earlier tokens to matter
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def tokens(length: int = CONTEXT) -> Tensor:
    return torch.randint(0, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(1))


def test_there_is_a_test_for_each_network() -> None:
    assert set(options("model")) >= set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_token_is_told_by_those_before_it_alone(name: str) -> None:
    model, given = network(name), tokens()
    changed = given.clone()
    changed[0, 7:] = (changed[0, 7:] + 1) % VOCABULARY
    before, after = model(given), model(changed)
    assert torch.allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert not torch.allclose(before[:, 7:], after[:, 7:], atol=1e-3)
    changed = given.clone()
    changed[0, 0] = (changed[0, 0] + 1) % VOCABULARY
    assert not torch.allclose(model(changed)[:, -1], before[:, -1], atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_with_a_cache_it_says_the_same_token_by_token(name: str) -> None:
    model, given = network(name), tokens()
    cache: dict[str, Any] = {}
    steps = [model(given[:, :5], cache), *(model(given[:, place : place + 1], cache) for place in range(5, CONTEXT))]
    assert torch.allclose(torch.cat(steps, 1), model(given), atol=1e-5)


def test_the_cache_holds_no_more_than_the_context() -> None:
    model = network("gpt")
    cache: dict[str, Any] = {}
    for token in tokens(3 * CONTEXT)[0]:
        assert model(token.reshape(1, 1), cache).isfinite().all()
    assert all(block["keys"].shape[2] == CONTEXT - 1 for block in cache["blocks"])
    assert model(tokens(5 * CONTEXT), {}).shape == (1, CONTEXT, VOCABULARY)


def test_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = network("gpt", checkpointing=checkpointing).train()
        cross_entropy(model(tokens())[0], tokens()[0]).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*gradients, strict=True))


def test_the_embedding_is_the_output_layer() -> None:
    model = network("gpt")
    assert sum(parameter.shape == (VOCABULARY, 16) for parameter in model.parameters()) == 1
    model(tokens()).sum().backward()
    assert model.embedding.weight.grad.abs().sum(1).min() > 0  # tokens absent from the input too


def test_drawn_text_is_a_function_of_the_seed_and_touches_no_other_randomness() -> None:
    model, before = network("gpt"), torch.get_rng_state()
    texts = [list(generate(model, tokens(4), 0, 30, 1.0, 1.0, seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.get_rng_state(), before)
    greedy = list(generate(model, tokens(4), -1, 6, temperature=0))
    expected = tokens(4)
    for _ in range(6):
        expected = torch.cat((expected, model(expected)[:, -1:].argmax(-1)), 1)
    assert greedy == expected[0, 4:].tolist()


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, {0}), (0.7, {0, 1}), (0.95, {0, 1, 2}), (1.0, {0, 1, 2, 3})])
def test_top_p_keeps_the_likeliest_tokens_that_together_reach_it(top_p: float, kept: set[int]) -> None:
    logits = torch.tensor([0.6, 0.25, 0.12, 0.03]).log()
    generator = torch.Generator().manual_seed(0)
    assert {sample_token(logits, 1.0, top_p, generator) for _ in range(400)} == kept


@pytest.mark.parametrize("temperature", [0.0, 1e-40, 1e-3])
def test_a_low_temperature_takes_the_likeliest_token(temperature: float) -> None:
    logits = torch.tensor([300.0, 310.0, -5.0])
    assert {sample_token(logits, temperature, 0.95, torch.Generator().manual_seed(0)) for _ in range(20)} == {1}


def test_bits_per_byte_are_those_of_the_definition() -> None:
    statistics = {"merges": [[97, 98], [256, 256]]}  # ab, abab
    node = {"_target_": f"{GPT.__module__}.GPT", "width": 16, "layers": 1}
    model = LanguageModel(node, {}, CONTEXT, statistics).eval()
    windows = torch.randint(0, 258, (3, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    windows[0, 4] = model.vocabulary.end
    uncounted = torch.tensor([0, 6, 3])
    model._evaluation_step((windows, torch.arange(CONTEXT) >= uncounted[:, None]))
    nats, count, size = 0.0, 0, 0
    for window, skipped in zip(windows, uncounted.tolist(), strict=True):
        for place in range(skipped, CONTEXT):
            target = int(window[place + 1])
            nats -= model(window[None, :-1])[0, place].log_softmax(-1)[target].item()
            count, size = count + 1, size + len(model.vocabulary.pieces[target])
    logged: dict[str, Any] = {}
    model.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign]
    model._log_epoch("test")
    assert logged["test/loss"].item() == pytest.approx(nats / count, rel=1e-5)
    assert logged["test/bits_per_byte"].item() == pytest.approx(nats / size / 0.693147, rel=1e-5)


def test_text_that_a_terminal_acts_on_is_shown_as_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = {"_target_": f"{GPT.__module__}.GPT", "width": 16, "layers": 1}
    model = LanguageModel(node, {}, CONTEXT, {"merges": []}).eval()
    written = b"\x1b[31m\n\tb"
    monkeypatch.setattr(f"{LanguageModel.__module__}.generate", lambda *_: iter(written))
    batch = (torch.tensor([[27, 97]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[9, 0]]))
    assert model.predict_step(batch, 0) == written.decode()
    assert capsys.readouterr().out == "\\x1ba\\x1b[31m\n\tb\n"


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has one from 2.9 on")
def test_the_step_of_the_optimizer_is_that_of_torch_s_two() -> None:
    ours, theirs = network("gpt"), network("gpt")
    groups = parameter_groups(theirs, without=(torch.nn.Embedding,))
    both = [
        torch.optim.Muon(groups[0]["params"], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups[1]["params"], lr=0.01, weight_decay=0.0),
    ]
    optimizer = MuonAdamW(parameter_groups(ours, without=(torch.nn.Embedding,)), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        for model in (ours, theirs):
            model.zero_grad()
            cross_entropy(model(tokens())[0], tokens()[0]).backward()
        for each in (optimizer, *both):
            each.step()
        optimizer.load_state_dict(optimizer.state_dict())
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (one - other).abs().max() < 0.1 * 0.03  # after three steps; torch's Muon works in bfloat16
