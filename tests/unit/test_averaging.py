"""What training leaves can be the mean of its last weights."""

from dataclasses import replace

import pytest
import torch

from s2s_lib.batches import EncodedPair
from s2s_lib.training import TrainingConfig, fit
from s2s_lib.transformer import TransformerConfig, TransformerModel
from s2s_lib.vocab import EOS

WORDS = 11
CONFIG = TrainingConfig(
    steps=11, batch_tokens=20, evaluate_every=3, learning_rate=1e-2, average=3
)


def make_pairs():
    g = torch.Generator().manual_seed(0)
    rows = torch.randint(4, WORDS, (23, 5), generator=g).tolist()
    return [
        EncodedPair([*row[: 1 + i % 5], EOS], [*row[i % 4 :], EOS])
        for i, row in enumerate(rows)
    ]


def make_model():
    torch.manual_seed(0)
    config = TransformerConfig(8, 2, 1, 8, 0.1, shared_embeddings=True)
    return TransformerModel(WORDS, WORDS, config)


def trained(config=CONFIG):
    """The weights that training leaves, those at each evaluation, history."""
    model, seen = make_model(), []

    def watch(model):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"evaluation": len(seen)}

    history = fit(model, make_pairs(), config, watch, progress=False)
    return model.state_dict(), seen, history


def test_the_mean_is_that_of_the_last_evaluations():
    weights, seen, history = trained()
    # After 3, 6, 9 and 11 updates, and once more with the mean.
    assert [row["step"] for row in history] == [3, 6, 9, 11, 11]
    assert [row["evaluation"] for row in history] == [1, 2, 3, 4, 5]
    assert [row.get("averaged") for row in history] == [None] * 4 + [3]
    for name, weight in weights.items():
        mean = torch.stack([old[name] for old in seen[1:4]]).mean(0)
        torch.testing.assert_close(weight, mean)
        assert torch.equal(weight, seen[4][name])
    assert not torch.equal(weights["output.weight"], seen[3]["output.weight"])


def test_without_it_nothing_is_averaged():
    weights, seen, history = trained(replace(CONFIG, average=0))
    assert [row["step"] for row in history] == [3, 6, 9, 11]
    assert torch.equal(weights["output.weight"], seen[3]["output.weight"])


def test_of_one_evaluation_is_the_last():
    weights, seen, _ = trained(replace(CONFIG, average=1))
    assert torch.equal(weights["output.weight"], seen[3]["output.weight"])


@pytest.mark.parametrize("stop", [4, 7, 9, 10])
def test_resumed_it_is_the_same(tmp_path, stop):
    wanted, _, whole = trained()
    path = tmp_path / "c"
    fit(
        make_model(),
        make_pairs(),
        CONFIG,
        checkpoint=path,
        stop_after=stop,
        progress=False,
    )
    model = make_model()
    history = fit(model, make_pairs(), CONFIG, checkpoint=path, progress=False)
    weights = model.state_dict()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    assert [r["loss"] for r in history] == [r["loss"] for r in whole]


def test_shared_embeddings_stay_shared():
    model = make_model()
    fit(model, make_pairs(), CONFIG, progress=False)
    assert model.output.weight is model.decoder.embedding.weight
    assert model.output.weight is model.encoder.stack.embedding.weight


def test_more_than_there_are_evaluations_is_refused():
    with pytest.raises(ValueError, match="average=5 needs so many"):
        replace(CONFIG, average=5)
