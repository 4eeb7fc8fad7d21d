"""Recipes, models, what is measured of them; the cache, results files."""

import ast
import errno
import json
import math
import shutil
import subprocess
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU

from s2s_lib import (
    captions,
    corpora,
    evaluation,
    grammar,
    models,
    recipes,
    storage,
    training,
)
from s2s_lib.batches import encode_pairs
from s2s_lib.catalogue import Recipe
from s2s_lib.corpora import LENGTH_BUCKETS, ParallelCorpus
from s2s_lib.grammar import SentencePair
from s2s_lib.metrics import recall_by_source_position, tokenized_bleu
from s2s_lib.models import Trained
from s2s_lib.recurrent import RecurrentConfig
from s2s_lib.search import n_best
from s2s_lib.storage import CheckpointError
from s2s_lib.training import TrainingConfig, total_loss
from s2s_lib.transformer import (
    DecoderOnlyModel,
    TransformerConfig,
    TransformerModel,
)
from s2s_lib.vocab import EOS, detokenize

TINY = Recipe(
    RecurrentConfig(embedding_size=6, hidden_size=8),
    TrainingConfig(steps=6, batch_size=16, evaluate_every=3),
    corpus="tiny",
)
REVERSED = replace(TINY, reverse_source=True)


def tiny_corpus(seed=0):
    """Short sentences; validation and test have words of their own."""
    pairs = grammar.generate(90, seed=seed, max_tokens=26)
    train, valid, test = pairs[:60], pairs[60:70], pairs[70:]
    new = SentencePair(
        ("xylophone", "sleeps"),
        ("xylophone-fr", "dort"),
        frozenset({(0, 0), (1, 1)}),
        frozenset({(0, 0), (1, 1)}),
    )
    other = replace(new, source=("zebra", "eats"), target=("zebra-fr", "ici"))
    return ParallelCorpus(
        "tiny", "en", "fr", train, [*valid, other], [*test, new]
    )


CORPUS, OTHER_CORPUS = tiny_corpus(), tiny_corpus(seed=1)


@pytest.fixture(autouse=True)
def world(monkeypatch, tmp_path):
    """A cache and a results folder of its own; tiny corpora by name."""
    known = {"tiny": CORPUS, "other": OTHER_CORPUS}
    monkeypatch.setenv("S2S_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(corpora, "load", lambda name, pair=None: known[name])
    recipes._load_corpus.cache_clear()
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(recipes, "results_dir", lambda: results)
    monkeypatch.setitem(recipes.RECIPES, "tiny", TINY)
    yield
    recipes._load_corpus.cache_clear()


@pytest.fixture
def fits(monkeypatch):
    """Counts the calls of the training loop."""
    calls, fit = [], recipes.fit

    def counted(*args, **kwargs):
        calls.append(args)
        return fit(*args, **kwargs)

    monkeypatch.setattr(recipes, "fit", counted)
    return calls


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def cached(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache/models").iterdir())


# The cache


def test_a_second_call_does_not_train_again(fits, tmp_path):
    first = recipes.train(TINY, progress=False)
    (name,) = cached(tmp_path)
    assert name == f"own-seed0-{recipes.fingerprint(TINY, 0)}.safetensors"
    second = recipes.train(TINY, progress=False)
    assert len(fits) == 1
    assert same(first.model, second.model)
    assert first.history == second.history and len(first.history) == 2
    assert first.source_vocab == second.source_vocab
    assert not first.model.training and not second.model.training


def test_another_seed_is_another_training(fits):
    first = recipes.train(TINY, seed=0, progress=False)
    second = recipes.train(TINY, seed=1, progress=False)
    assert len(fits) == 2 and not same(first.model, second.model)
    assert second.recipe.training.seed == 1


def test_a_name_and_an_unknown_name(fits, tmp_path):
    recipes.train("tiny", progress=False)
    assert cached(tmp_path)[0].startswith("tiny-seed0-")
    with pytest.raises(ValueError, match="'nope'; there are plain"):
        recipes.train("nope")


def test_random_numbers_go_on_as_before(fits):
    """Whether the weights are trained or loaded."""
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(5)
        recipes.train(TINY, seed, progress=False)
        drawn.append(torch.rand(2))
    assert len(fits) == 2
    torch.manual_seed(5)
    assert all(torch.equal(drawn[0], row) for row in [*drawn, torch.rand(2)])


def test_results_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "results_dir", lambda: tmp_path / "r")
    path = recipes.write_results("a.b-c", {"x": 1 / 3, "y": math.nan})
    assert path == tmp_path / "r/a.b-c.json"
    assert json.loads(path.read_text()) == {"x": 0.333333, "y": None}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recipes.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        recipes.write_results("a.b-c", {"x": 2})
    assert [*path.parent.iterdir()] == [path]
    assert '"x": 0.333333' in path.read_text()


def test_code_is_what_it_does():
    text = '''"""One."""\n\ndef f(x):  # two\n    """Three."""\n    return x'''
    assert recipes._code(text) == recipes._code("def f( x ):\n  return x")
    assert recipes._code(text) != recipes._code("def f(x):\n  return -x")
    assert recipes._code("x = 'a'") != recipes._code("x = 'b'")


def test_another_corpus_than_that_of_the_recipe(fits, tmp_path):
    first = recipes.train("tiny", progress=False)
    other = replace(
        CORPUS,
        name="mine",
        train=CORPUS.train[:20],
        valid=OTHER_CORPUS.valid,
    )
    second = recipes.train("tiny", progress=False, corpus=other)
    assert len(fits) == 2 and len(fits[1][1].pairs) == 20
    assert second.corpus_fingerprint == other.fingerprint()
    assert first.corpus_fingerprint == CORPUS.fingerprint()
    assert (second.recipe.corpus, second.recipe.pair) == ("mine", "en-fr")
    loss = evaluation.validate(second, other.valid)["valid_loss"]
    assert second.history[-1]["valid_loss"] == pytest.approx(loss)
    stem = f"tiny-seed0-{recipes.fingerprint(TINY, 0, other)}"
    assert f"{stem}.safetensors" in cached(tmp_path)
    again = recipes.train("tiny", progress=False, corpus=other)
    assert same(again.model, second.model)
    assert again.recipe == second.recipe
    same_corpus = recipes.train("tiny", progress=False, corpus=CORPUS)
    assert len(fits) == 2 and same(same_corpus.model, first.model)


def test_a_corpus_that_has_grown_is_another_one(fits):
    mine = replace(CORPUS, train=CORPUS.train[:20])
    before = mine.fingerprint()
    recipes.train(TINY, progress=False, corpus=mine)
    mine.train.extend(CORPUS.train[:20])  # the vocabulary stays
    trained = recipes.train(TINY, progress=False, corpus=mine)
    assert len(fits) == 2 and trained.corpus_fingerprint != before


def test_a_corpus_without_validation_pairs_is_refused(fits):
    mine = replace(CORPUS, name="mine", valid=[])
    with pytest.raises(ValueError, match="'mine' has no validation pairs"):
        recipes.train(TINY, progress=False, corpus=mine)
    assert not fits


# Another value for every field, so that none is forgotten in the hash.
OTHER_MODEL = {
    "cell": "lstm",
    "embedding_size": 7,
    "hidden_size": 9,
    "num_layers": 2,
    "bidirectional": False,
    "dropout": 0.1,
    "context": "every_step",
    "context_size": 3,
    "attention": "dot",
    "encoder": "image",
    "shared_embeddings": True,
}
# These need attention, so they differ from a model with attention.
OTHER_ATTENTION = {
    "query": "after",
    "coverage": True,
    "selection": "hard",
    "attention": "general",
}
OTHER_TRAINING = {
    "steps": 7,
    "batch_size": 5,
    "learning_rate": 1e-3,
    "schedule": "linear",
    "warmup": 2,
    "clip_norm": 2.0,
    "label_smoothing": 0.1,
    "teacher_forcing": 0.5,
    "bucket": False,
    "batch_tokens": 64,
    "average": 1,
    "objective": "reinforce",
    "evaluate_every": 2,
    "seed": 4,
}
OTHER = {
    "corpus": "other",
    "pair": "en-de",
    "min_count": 2,
    "reverse_source": True,
    "num_train": 5,
    "max_tokens": 9,
    "bug": "no_mask",
    "subwords": 60,
}
# These are of the search, after the training.
SEARCH = {"beam_size", "length_penalty"}
OTHER_TRANSFORMER = {
    "hidden_size": 12,
    "num_heads": 1,
    "num_layers": 3,
    "feedforward_size": 7,
    "dropout": 0.1,
    "norm": "post",
    "positions": "learned",
    "max_positions": 99,
    "decoder_only": True,
    "weights_layer": 0,
    "encoder": "image",
    "shared_embeddings": True,
}


def test_the_fingerprint_changes_with_every_field():
    assert {*OTHER_MODEL, *OTHER_ATTENTION, "input_feeding"} == {
        f.name for f in fields(RecurrentConfig)
    }
    assert OTHER_TRAINING.keys() == {f.name for f in fields(TrainingConfig)}
    names = {f.name for f in fields(Recipe)}
    alone = {*OTHER, *SEARCH, "model", "training"}
    assert names == alone | {"subword_dropout"}  # which needs subwords
    variants = [TINY]
    for name, value in OTHER_MODEL.items():
        model = replace(TINY.model, **{name: value})
        variants.append(replace(TINY, model=model))
    asking = replace(TINY.model, attention="additive")
    looks = [replace(asking, **{k: v}) for k, v in OTHER_ATTENTION.items()]
    looks += [asking, replace(looks[0], input_feeding=True)]
    variants += [replace(TINY, model=model) for model in looks]
    for name, value in OTHER_TRAINING.items():
        settings = replace(TINY.training, **{name: value})
        variants.append(replace(TINY, training=settings))
    variants += [replace(TINY, **{k: v}) for k, v in OTHER.items()]
    variants += [replace(TINY, subwords=60, subword_dropout=0.2)]
    stack = TransformerConfig(8, 2)
    assert OTHER_TRANSFORMER.keys() == {f.name for f in fields(stack)}
    variants.append(replace(TINY, model=stack))
    for name, value in OTHER_TRANSFORMER.items():
        model = replace(stack, **{name: value})
        variants.append(replace(TINY, model=model))
    prints = [recipes.fingerprint(variant, 0) for variant in variants]
    prints.append(recipes.fingerprint(TINY, 1))
    assert len(set(prints)) == len(prints) == 1 + 11 + 6 + 14 + 8 + 1 + 13 + 1
    assert recipes.fingerprint(TINY, 0) == prints[0]


def test_the_fingerprint_is_that_of_the_training_and_not_of_the_search():
    wide = replace(TINY, beam_size=5, length_penalty=1.0)
    assert recipes.fingerprint(wide, 0) == recipes.fingerprint(TINY, 0)


def test_the_fingerprint_changes_with_the_content_of_the_corpus(monkeypatch):
    before = recipes.fingerprint(TINY, 0)
    first, *rest = CORPUS.train
    for changed in (
        replace(CORPUS, train=[replace(first, target=("x",)), *rest]),
        replace(CORPUS, valid=CORPUS.valid[1:]),
        replace(CORPUS, train=CORPUS.train[::-1]),
    ):
        recipes._load_corpus.cache_clear()
        monkeypatch.setattr(
            corpora, "load", lambda name, pair=None, c=changed: c
        )
        assert recipes.fingerprint(TINY, 0) != before


def test_the_fingerprint_changes_with_torch(monkeypatch):
    before = recipes.fingerprint(TINY, 0)
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert recipes.fingerprint(TINY, 0) != before


def test_the_fingerprint_changes_with_the_code(monkeypatch):
    before, read = recipes.fingerprint(TINY, 0), Path.read_text
    for name in recipes._DETERMINES:

        def changed(self, *args, name=name, **kwargs):
            text = read(self, *args, **kwargs)
            return text + "\nx = 1" if self.name == f"{name}.py" else text

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", changed)
            assert recipes.fingerprint(TINY, 0) != before, name
    assert recipes.fingerprint(TINY, 0) == before


def test_the_code_in_the_fingerprint_is_complete():
    """A module that training and scoring import determines what is kept.

    But a recipe goes in by its settings.
    """
    folder = Path(recipes.__file__).parent
    left_out = {"catalogue"}
    todo, seen = {"training", "recurrent", "corpora", "evaluation"}, set()
    while todo:
        seen.add(name := todo.pop())
        tree = ast.parse((folder / f"{name}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                parts = (node.module or "").split(".")
                if parts[0] == "s2s_lib":
                    names = parts[1:] or [a.name for a in node.names]
                    todo |= set(names) - seen - left_out
    assert {"batches", "vocab", "grammar"} <= seen
    assert seen <= set(recipes._DETERMINES)


def test_an_interrupted_training_resumes(monkeypatch, tmp_path):
    """^C at the second evaluation; the next call starts at the checkpoint."""
    long = replace(TINY, training=replace(TINY.training, steps=9))
    fit, validate, steps = recipes.fit, evaluation.validate, []

    def often(*args, **kwargs):
        return fit(*args, checkpoint_every=2, **kwargs)

    def stops(trained, pairs):
        steps.append(0)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return validate(trained, pairs)

    with monkeypatch.context() as patch:
        patch.setattr(recipes, "fit", often)
        patch.setattr(recipes, "validate", stops)
        with pytest.raises(KeyboardInterrupt):
            recipes.train(long, progress=False)
    (left,) = cached(tmp_path)
    assert left.endswith(".checkpoint")
    updates, update = [], training._update
    monkeypatch.setattr(
        training,
        "_update",
        lambda *args: updates.append(args[-1]) or update(*args),
    )
    resumed = recipes.train(long, progress=False)
    assert updates == [4, 5, 6, 7, 8]
    (left,) = cached(tmp_path)
    assert left.endswith(".safetensors")
    monkeypatch.setenv("S2S_CACHE_DIR", str(tmp_path / "afresh"))
    whole = recipes.train(long, progress=False)
    assert same(whole.model, resumed.model)
    for a, b in zip(whole.history, resumed.history, strict=True):
        assert a | {"seconds": 0} == b | {"seconds": 0}


def test_two_processes_may_train_the_same(monkeypatch, tmp_path):
    """The other one finishes, and removes the checkpoint, before us."""
    save = models.save

    def after_the_other(path, trained):
        save(path, trained)
        path.with_suffix(".checkpoint").unlink()

    monkeypatch.setattr(recipes, "save", after_the_other)
    recipes.train(TINY, progress=False)
    assert len(cached(tmp_path)) == 1


def test_a_damaged_file_in_the_cache_is_named(tmp_path):
    recipes.train(TINY, progress=False)
    (path,) = (tmp_path / "cache/models").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="delete it") as caught:
        recipes.train(TINY, progress=False)
    assert str(path) in str(caught.value)


# Vocabularies (invariant 11)


@pytest.mark.parametrize("min_count", [1, 3])
def test_vocabularies_are_of_the_training_split(min_count):
    recipe = replace(TINY, min_count=min_count)
    trained = models.build(recipe, CORPUS, 0)
    for side in ("source", "target"):
        words = [w for p in CORPUS.train for w in getattr(p, side)]
        kept = {w for w in words if words.count(w) >= min_count}
        vocab = getattr(trained, f"{side}_vocab")
        assert set(vocab.to_list()) == kept
        new = {w for p in CORPUS.test for w in getattr(p, side)} - kept
        assert new and not any(word in vocab for word in new)
    outputs = trained.translate([("xylophone", "sleeps")], max_steps=5)
    assert len(outputs) == 1


def test_the_generated_corpus_too():
    """Whatever the splits hold: validation and test add no word."""
    corpus = corpora.generated(num_train=100, num_valid=10, num_test=10)
    trained = models.build(TINY, corpus, 0)
    for side in ("source", "target"):
        training = {w for p in corpus.train for w in getattr(p, side)}
        vocab = getattr(trained, f"{side}_vocab")
        assert set(vocab.to_list()) == training


def test_the_seed_of_the_weights():
    a, b, c = (models.build(TINY, CORPUS, seed).model for seed in (0, 0, 1))
    assert same(a, b) and not same(a, c)


# Models on disk (invariant 14)


@pytest.mark.parametrize(
    "recipe",
    [
        TINY,
        REVERSED,
        replace(
            TINY,
            model=RecurrentConfig(
                cell="lstm",
                embedding_size=5,
                hidden_size=6,
                num_layers=2,
                dropout=0.5,
                context="every_step",
                context_size=4,
            ),
        ),
    ],
)
def test_save_load_same_outputs(recipe, tmp_path):
    trained = models.build(recipe, CORPUS, 3)
    trained.history = [{"step": 1, "loss": 0.1, "x": math.inf}]
    trained.model.train()  # as a caller may have left it
    path = tmp_path / "model.bin"
    models.save(path, trained)
    loaded = models.load(path)
    assert loaded.recipe == recipe
    assert loaded.history == trained.history
    assert loaded.source_vocab == trained.source_vocab
    assert loaded.target_vocab == trained.target_vocab
    assert same(loaded.model, trained.model) and not loaded.model.training
    sources = [pair.source for pair in CORPUS.test]
    for options in ({}, {"beam_size": 3, "length_penalty": 0.7}):
        a, b = (
            n_best(t.model, sources, t.source_vocab, **options)
            for t in (trained, loaded)
        )
        assert a == b and a[0][0].log_prob < 0
        assert trained.translate(sources, **options) == loaded.translate(
            sources, **options
        )


def test_a_file_that_does_not_fit(tmp_path):
    path = tmp_path / "model.bin"
    trained = models.build(TINY, CORPUS, 0)
    models.save(path, trained)
    other = models.build(TINY, OTHER_CORPUS, 0)
    wider = replace(TINY, model=replace(TINY.model, hidden_size=9))
    for into in (other, models.build(wider, CORPUS, 0)):
        before = {k: v.clone() for k, v in into.model.state_dict().items()}
        with pytest.raises(CheckpointError, match="other") as caught:
            models.load(path, into)
        assert str(path) in str(caught.value)
        after = into.model.state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"recipe": {}, "source_vocab": [], "target_vocab": []},
        {"recipe": [], "source_vocab": [], "target_vocab": [], "history": []},
    ],
)
def test_a_file_that_is_no_model(about, tmp_path):
    path = tmp_path / "model.bin"
    storage.save_tensors(path, {"a": torch.zeros(1)}, about)
    with pytest.raises(CheckpointError, match="delete it") as caught:
        models.load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        models.load(tmp_path / "nowhere")


def test_a_checkpoint_is_no_model_and_is_to_be_kept(tmp_path):
    path = tmp_path / "m.checkpoint"
    about = {"config": {}, "progress": {}, "task": ""}
    storage.save_tensors(path, {"a": torch.zeros(1)}, about)
    with pytest.raises(CheckpointError, match="not ended") as caught:
        models.load(path)
    assert str(path) in str(caught.value)
    assert "delete" not in str(caught.value)


def test_a_launcher_does_not_choose_the_precision_of_a_recipe(monkeypatch):
    """Or reduced weights would be kept under the name of the others."""
    asked = []
    monkeypatch.setattr(
        recipes, "fit", lambda *args, precision, **o: asked.append(precision)
    )
    monkeypatch.setattr(recipes, "save", lambda *args: None)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    recipes.train(TINY, seed=77, progress=False, corpus=CORPUS)
    assert asked == ["float32"]


# Reading backwards


def test_read_backwards_mirrors_the_links():
    pair = SentencePair(
        ("a", "b", "c"),
        ("x", "y"),
        frozenset({(0, 1)}),
        frozenset({(0, 1), (2, 0)}),
    )
    (mirrored,) = models.read_backwards([pair])
    assert mirrored.source == ("c", "b", "a") and mirrored.target == ("x", "y")
    assert mirrored.sure == {(2, 1)} and mirrored.possible == {(2, 1), (0, 0)}
    for before in CORPUS.train:
        (after,) = models.read_backwards([before])
        for kind in ("sure", "possible"):
            words = [
                {(p.source[i], p.target[j], j) for i, j in getattr(p, kind)}
                for p in (before, after)
            ]
            assert words[0] == words[1]
        assert models.read_backwards([after]) == [before]


def test_read_backwards_mirrors_the_classes():
    for before in CORPUS.train:
        (after,) = models.read_backwards([before])
        assert len(before.source_classes) == len(before.source) > 1
        assert after.source_classes == before.source_classes[::-1]


def test_measuring_leaves_the_mode_of_the_model():
    trained = models.build(TINY, CORPUS, 0)
    for mode in (True, False):
        trained.model.train(mode)
        evaluation.forced_predictions(trained, CORPUS.test)
        evaluation.evaluate_alignment(trained, CORPUS.test)
        assert trained.model.training == mode


def test_of_no_pairs_nothing_is_predicted():
    assert (
        evaluation.forced_predictions(models.build(TINY, CORPUS, 0), []) == []
    )


def test_a_corpus_without_training_pairs_is_refused():
    empty = replace(CORPUS, train=[])
    with pytest.raises(ValueError, match="has no training pairs"):
        models.training_pairs(TINY, empty)


def test_reproduce_finds_out_first_that_results_cannot_be_kept(
    monkeypatch, tmp_path, fits
):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(recipes, "results_dir", lambda: file / "results")
    monkeypatch.setitem(recipes.RECIPES, "tiny", TINY)
    with pytest.raises(OSError, match="folder of results"):
        recipes.reproduce("tiny")
    assert fits == []


def test_a_reversed_model_reads_backwards_everywhere():
    plain = models.build(TINY, CORPUS, 0)
    backwards = replace_recipe(plain, REVERSED)
    sources = [pair.source for pair in CORPUS.test]
    mirrored = [source[::-1] for source in sources]
    assert backwards.translate(sources) == plain.translate(mirrored)
    assert backwards.translate(sources) != plain.translate(sources)
    turned = models.read_backwards(CORPUS.test)
    assert backwards.pairs(CORPUS.test) == turned
    assert plain.pairs(CORPUS.test) == CORPUS.test
    assert evaluation.forced_predictions(
        backwards, CORPUS.test
    ) == evaluation.forced_predictions(plain, turned)
    a = evaluation.evaluate(backwards, CORPUS.test)
    b = evaluation.evaluate(plain, turned)
    # Recall is by the place in the sentence, not in the order of reading.
    b.pop("recall_by_source_position")
    long = [p for p in CORPUS.test if len(p.source) > evaluation.LONG]
    assert a.pop("recall_by_source_position") == recall_by_source_position(
        backwards.translate([pair.source for pair in long]),
        [pair.target for pair in long],
        [pair.sure for pair in long],
        [len(pair.source) for pair in long],
    )
    assert a == b
    valid = models.read_backwards(CORPUS.valid)
    assert evaluation.validate(backwards, CORPUS.valid) == evaluation.validate(
        plain, valid
    )


def replace_recipe(trained, recipe):
    return Trained(
        trained.model,
        trained.source_vocab,
        trained.target_vocab,
        trained.history,
        recipe,
    )


def test_training_reverses_the_sources(fits):
    recipes.train(REVERSED, progress=False)
    (call,) = fits
    vocab = models.build(REVERSED, CORPUS, 0).source_vocab
    for encoded, pair in zip(call[1].pairs, CORPUS.train, strict=True):
        assert vocab.decode(encoded.source) == [*pair.source[::-1]]


# What is measured


def some_outputs(pairs):
    """Right, cut short, one word wrong, and empty, in turn."""
    outputs = []
    for i, pair in enumerate(pairs):
        words = [*pair.target]
        outputs.append(
            [words, words[: len(words) // 2], ["non", *words[1:]], []][i % 4]
        )
    return outputs


@pytest.mark.parametrize("recipe", [TINY, REVERSED])
def test_evaluate_computed_again(recipe, monkeypatch):
    trained, pairs = models.build(recipe, CORPUS, 0), CORPUS.test
    outputs = some_outputs(pairs)
    monkeypatch.setattr(Trained, "translate", lambda *a, **k: outputs)
    found = evaluation.evaluate(trained, pairs)
    texts = [detokenize(words) for words in outputs]
    references = [detokenize(pair.target) for pair in pairs]
    scorer = BLEU()
    score = scorer.corpus_score(texts, [references])
    assert 0 < found["bleu"] == score.score < 100
    assert found["precisions"] == score.precisions
    assert found["brevity_penalty"] == score.bp < 1
    assert found["signature"] == str(scorer.get_signature())
    assert len(found["bleu_by_length"]) == len(LENGTH_BUCKETS)
    for (low, high), value in zip(
        LENGTH_BUCKETS, found["bleu_by_length"], strict=True
    ):
        rows = [i for i, p in enumerate(pairs) if low <= len(p.source) <= high]
        if not rows:
            assert value is None
            continue
        part = BLEU().corpus_score(
            [texts[i] for i in rows], [[references[i] for i in rows]]
        )
        assert value == part.score
    right = sum(o == [*p.target] for o, p in zip(outputs, pairs, strict=True))
    assert found["exact"] == right / len(pairs) > 0
    nll, count, hits, seen = 0.0, 0, {}, {}
    for pair in pairs:  # one at a time, one step at a time
        source = pair.source[::-1] if recipe.reverse_source else pair.source
        ids = torch.tensor([[*trained.source_vocab.encode(source), 2]])
        memory = trained.model.encode(ids, torch.ones_like(ids).bool())
        token, state = torch.tensor([1]), None
        truth = [*trained.target_vocab.encode(pair.target), 2]
        for t, word in enumerate(truth):
            logits, state, _ = trained.model.step(memory, token, state)
            log_probs = logits[0].detach().double().log_softmax(0)
            nll, count = nll - float(log_probs[word]), count + 1
            if t < len(pair.target):
                best = trained.target_vocab.decode([int(log_probs.argmax())])
                seen[t // 5] = seen.get(t // 5, 0) + 1
                hit = best == [pair.target[t]]
                hits[t // 5] = hits.get(t // 5, 0) + hit
            token = torch.tensor([word])
    assert found["perplexity"] == pytest.approx(
        math.exp(nll / count), rel=1e-4
    )
    forced = found["accuracy_by_position"]["teacher_forced"]
    assert forced == [hits[b] / seen[b] for b in sorted(seen)]
    free = found["accuracy_by_position"]["free_running"]
    first = [
        o[t] == p.target[t] if t < len(o) else False
        for o, p in zip(outputs, pairs, strict=True)
        for t in range(min(5, len(p.target)))
    ]
    assert 0 < free[0] == sum(first) / len(first) < 1


def test_recall_is_of_long_sentences_with_gold_links(monkeypatch):
    pairs = [p for p in CORPUS.train if len(p.source) > evaluation.LONG]
    assert len(pairs) > 3
    short = [p for p in CORPUS.train if len(p.source) <= evaluation.LONG]
    trained = models.build(TINY, CORPUS, 0)
    # The long ones are answered by the last half of the reference.
    halves = [[*p.target[len(p.target) // 2 :]] for p in pairs]
    monkeypatch.setattr(
        Trained, "translate", lambda *a, **k: halves + [[] for _ in short]
    )
    recall = evaluation.evaluate(trained, pairs + short)[
        "recall_by_source_position"
    ]
    assert len(recall) == 10 and recall[0] < 0.5 < recall[-1]
    bare = [replace(p, sure=frozenset()) for p in pairs]
    monkeypatch.setattr(Trained, "translate", lambda *a, **k: halves)
    found = evaluation.evaluate(trained, bare)
    assert found["recall_by_source_position"] is None


def test_one_pass_tells_loss_predictions_and_weights(monkeypatch):
    """The loss of all tokens, however few logits are made at a time."""
    trained = models.build(LOOKING, CORPUS, 0)
    encoded = encode_pairs(
        CORPUS.test, trained.source_vocab, trained.target_vocab
    )
    total, tokens = total_loss(trained.model, encoded)
    whole = evaluation._forced(trained, CORPUS.test)
    assert (whole.total, whole.tokens) == (pytest.approx(total), tokens)
    monkeypatch.setattr(evaluation, "CHUNK", 3 * len(trained.target_vocab))
    parts = evaluation._forced(trained, CORPUS.test, batch_size=7)
    assert parts.total == pytest.approx(total)
    rows = zip(whole.predictions, parts.predictions, strict=True)
    assert all(a.tolist() == b.tolist() for a, b in rows)
    found, alone = (
        evaluation.evaluate_alignment(trained, CORPUS.test, forced)
        for forced in (parts, None)
    )
    assert found["error_rate"] == alone["error_rate"]
    assert found["entropy"] == pytest.approx(alone["entropy"])


def test_forced_predictions_go_on_after_a_wrong_end():
    """An argmax of <eos> in the middle must not cut the sentence off."""
    trained = models.build(TINY, CORPUS, 0)
    with torch.no_grad():
        trained.model.decoder.output.bias[2] = 100.0
    predictions = evaluation.forced_predictions(trained, CORPUS.test, 7)
    assert predictions == [["<eos>"] * len(p.target) for p in CORPUS.test]


LOOKING = replace(
    TINY, model=replace(TINY.model, attention="dot", query="after")
)


@pytest.fixture
def oracle(monkeypatch):
    """Weights that lie on the last sure link of each target word."""

    def weights(trained, pairs):
        grids = []
        for pair in trained.pairs(pairs):
            shape = len(pair.target), len(pair.source) + 1
            grid = np.zeros(shape, dtype=np.float32)
            grid[:, -1] = 1.0
            for i, j in pair.sure:
                grid[j] = np.eye(shape[1])[i]
            grids.append(grid)
        return grids

    monkeypatch.setattr(evaluation, "forced_weights", weights)


@pytest.mark.parametrize("backwards", [False, True])
def test_alignment_of_an_oracle_is_perfect(oracle, backwards):
    recipe = replace(LOOKING, reverse_source=backwards)
    trained = models.build(recipe, CORPUS, 0)
    found = evaluation.evaluate_alignment(trained, CORPUS.test)
    assert found["error_rate"] == 0 and found["precision"] == 1
    # One link per target word: a word with two sure links loses one.
    links = sum(len(p.sure) for p in CORPUS.test)
    words = sum(len({j for _, j in p.sure}) for p in CORPUS.test)
    assert found["recall"] == pytest.approx(words / links)
    assert found["entropy"] == 0
    assert found["by_class"] == {}  # one pair has no classes
    classed = CORPUS.test[:-1]
    by_class = evaluation.evaluate_alignment(trained, classed)["by_class"]
    assert by_class["noun"]["precision"] == by_class["noun"]["recall"] == 1
    assert by_class["verb"]["precision"] == 1


def test_no_alignment_without_attention_or_without_links():
    plain = models.build(TINY, CORPUS, 0)
    assert evaluation.evaluate_alignment(plain, CORPUS.test) is None
    assert evaluation.example(plain, CORPUS.test) is None
    with pytest.raises(ValueError, match="no attention"):
        evaluation.forced_weights(plain, CORPUS.test)
    looking = models.build(LOOKING, CORPUS, 0)
    bare = [SentencePair(("a",), ("b",))]
    assert evaluation.evaluate_alignment(looking, bare) is None
    assert evaluation.example(looking, bare) is None


def test_weights_of_a_sentence_do_not_depend_on_its_batch():
    trained = models.build(LOOKING, CORPUS, 0)
    together = evaluation.forced_weights(trained, CORPUS.test)
    for pair, grid in zip(CORPUS.test, together, strict=True):
        assert grid.shape == (len(pair.target), len(pair.source) + 1)
        np.testing.assert_allclose(grid.sum(1), 1, atol=1e-5)
        (alone,) = evaluation.forced_weights(trained, [pair])
        np.testing.assert_allclose(alone, grid, atol=1e-5)


def test_the_example_is_a_sentence_with_its_weights():
    trained = models.build(LOOKING, CORPUS, 0)
    shown = evaluation.example(trained, CORPUS.test)
    pair = next(
        p for p in CORPUS.test if tuple(shown["source"][:-1]) == p.source
    )
    assert shown["source"][-1] == "<eos>"
    assert shown["target"] == list(pair.target)
    assert {tuple(link) for link in shown["sure"]} == pair.sure
    (grid,) = evaluation.forced_weights(trained, [pair])
    np.testing.assert_allclose(shown["weights"], grid, atol=1e-4)


def test_settings_of_an_older_file_have_defaults():
    settings = asdict(TINY)
    del settings["bug"], settings["model"]["attention"]
    assert Recipe.from_settings(settings) == TINY


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_train": -1}, "num_train must be 0"), ({"bug": "x"}, "no_mask")],
)
def test_a_recipe_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_training_on_a_part_and_with_a_bug(fits):
    few = replace(TINY, num_train=7)
    trained = recipes.train(few, progress=False)
    assert len(fits[-1][1].pairs) == 7
    words = {w for p in CORPUS.train[:7] for w in p.source}
    assert set(trained.source_vocab.to_list()) <= words | {
        "<pad>", "<sos>", "<eos>", "<unk>"
    }  # fmt: skip
    spoilt = recipes.train(replace(LOOKING, bug="no_end"), progress=False)
    assert all(EOS not in pair.target for pair in fits[-1][1].pairs)
    assert spoilt.recipe.bug == "no_end"


def test_evaluate_passes_search_options_on(monkeypatch):
    seen = {}
    trained = models.build(TINY, CORPUS, 0)

    def watched(*args, **options):
        seen.update(options)
        return some_outputs(CORPUS.test)

    monkeypatch.setattr(models, "translate", watched)
    evaluation.evaluate(trained, CORPUS.test, beam_size=4, max_steps=9)
    assert seen == {"beam_size": 4, "max_steps": 9}


# Results files

FIELDS = {
    "name", "seed", "command", "recipe", "corpus_fingerprint", "commit",
    "versions", "machine", "training_seconds", "seconds", "parameters",
    "history", "searches", "metrics",
}  # fmt: skip


def _no_constant(name):
    raise ValueError(f"{name} is not JSON")


def test_reproduce_writes_a_complete_file(monkeypatch, tmp_path):
    path = recipes.reproduce("tiny", seed=3, progress=False)
    assert path == tmp_path / "results" / "tiny-seed3.json"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    text = path.read_text("utf-8")
    result = json.loads(text, parse_constant=_no_constant)
    assert text.endswith("}\n") and str(tmp_path) not in text
    assert result.keys() == FIELDS
    assert result["name"] == "tiny" and result["seed"] == 3
    assert result["command"] == "python -m s2s_lib reproduce tiny --seed 3"
    assert result["recipe"] == asdict(TINY)
    assert result["corpus_fingerprint"] == CORPUS.fingerprint()
    packages = {"torch", "numpy", "sacrebleu", "tokenizers", "accelerate"}
    assert result["versions"].keys() == {"python", *packages}
    assert "cores" in result["machine"] and "thread" in result["machine"]
    assert 0 < result["training_seconds"] <= result["seconds"]
    trained = recipes.train("tiny", 3, progress=False)
    count = sum(p.numel() for p in trained.model.parameters())
    assert result["parameters"] == count
    assert result["history"] == recipes.rounded(trained.history)
    metrics = evaluation.evaluate(trained, CORPUS.test)
    assert result["metrics"] == recipes.rounded(metrics)
    assert recipes.load_results("tiny") == [result]


def test_real_sentences_are_measured_further(monkeypatch):
    """Moses's BLEU, the translations, and other searches on validation."""
    monkeypatch.setattr(recipes, "REAL", (TINY.corpus,))
    monkeypatch.setattr(evaluation, "SEARCHES", ((1, 0.0), (3, 0.5)))
    wide = replace(TINY, beam_size=3, length_penalty=0.5, subwords=60)
    monkeypatch.setitem(recipes.RECIPES, "tiny", wide)
    result = json.loads(recipes.reproduce("tiny", progress=False).read_text())
    trained = recipes.train("tiny", progress=False)
    greedy, three = result["searches"]
    assert (greedy["beam_size"], greedy["length_penalty"]) == (1, 0)
    assert (three["beam_size"], three["length_penalty"]) == (3, 0.5)
    assert greedy["sentences_per_second"] > 0
    outputs = trained.translate([pair.source for pair in CORPUS.valid])
    texts = [detokenize(tokens) for tokens in outputs]
    references = [pair.target_sentence for pair in CORPUS.valid]
    score = tokenized_bleu(texts, references, "fr").score
    assert greedy["bleu_tokenized"] == pytest.approx(score, rel=1e-5)
    words = sum(len(pair.target) for pair in CORPUS.valid)
    assert greedy["length_ratio"] == pytest.approx(
        sum(map(len, outputs)) / words, rel=1e-5
    )
    outputs = trained.translate(
        [pair.source for pair in CORPUS.test],
        beam_size=3,
        length_penalty=0.5,
    )
    assert result["metrics"]["outputs"] == [*map(detokenize, outputs)]
    assert "moses-fr" in result["metrics"]["bleu_tokenized"]["signature"]


def test_results_come_by_rising_seed(tmp_path):
    for name, seed in [("a", 10), ("a", 2), ("a", 0), ("a-b", 1)]:
        path = tmp_path / "results" / f"{name}-seed{seed}.json"
        path.write_text(json.dumps({"seed": seed, "name": name}))
    assert [r["seed"] for r in recipes.load_results("a")] == [0, 2, 10]
    assert [r["seed"] for r in recipes.load_results("a-b")] == [1]


def test_missing_results_say_how_to_make_them():
    with pytest.raises(FileNotFoundError) as caught:
        recipes.load_results("plain")
    assert "python -m s2s_lib reproduce plain --seed 0" in str(caught.value)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["write", "replace"])
def test_a_failed_write_keeps_the_old_results(
    error, place, monkeypatch, tmp_path
):
    path = tmp_path / "results" / "tiny-seed0.json"
    path.write_text("old")
    recipes.train("tiny", progress=False)
    write = Path.write_text

    def fails(target, *args, **kwargs):
        if place == "write" and isinstance(target, Path):
            write(target, "half")
        raise error(28, "No space left on device")

    with monkeypatch.context() as patch:
        if place == "write":
            patch.setattr(Path, "write_text", fails)
        else:
            patch.setattr(recipes.os, "replace", fails)
        with pytest.raises(error):
            recipes.reproduce("tiny", progress=False)
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_rounding_keeps_six_digits_and_valid_json():
    value = {
        "a": [math.pi * 1e-9, math.nan, (1, True, None, -math.inf)],
        "b": {"c": 1234567.89, "d": "text", "e": 123456789},
    }
    assert recipes.rounded(value) == {
        "a": [3.14159e-09, None, [1, True, None, None]],
        "b": {"c": 1234570.0, "d": "text", "e": 123456789},
    }


def git(folder, *command):
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C",
         str(folder), *command],
        check=True,
        capture_output=True,
    )  # fmt: skip


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_commit_and_whether_it_was_changed(monkeypatch, tmp_path):
    package = tmp_path / "checkout" / "s2s_lib"
    package.mkdir(parents=True)
    file = package / "recipes.py"
    file.write_text("one\n")
    monkeypatch.setattr(recipes, "__file__", str(file))
    git(package.parent, "init")
    assert recipes._commit() == "unknown"  # not tracked: somebody else's
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-m", "one")
    commit = recipes._commit()
    assert len(commit) == 12 and set(commit) <= set("0123456789abcdef")
    file.write_text("two\n")
    assert recipes._commit() == commit + "+"
    monkeypatch.setenv("PATH", "")
    assert recipes._commit() == "unknown"


STACK = replace(TINY, model=TransformerConfig(8, 2, 1, 12, dropout=0.1))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, TransformerModel),
        ({"positions": "rotary", "norm": "post"}, TransformerModel),
        ({"decoder_only": True}, DecoderOnlyModel),
    ],
)
def test_a_transformer_is_trained_kept_and_scored(settings, kind, tmp_path):
    """By the same functions: settings come back, and so do the weights."""
    recipe = replace(STACK, model=replace(STACK.model, **settings))
    trained = recipes.train(recipe, progress=False)
    assert type(trained.model) is kind
    assert Recipe.from_settings(asdict(recipe)) == recipe
    path = tmp_path / "stack.model"
    models.save(path, trained)
    loaded = models.load(path)
    assert type(loaded.model) is kind and same(loaded.model, trained.model)
    source = [CORPUS.test[0].source]
    assert loaded.translate(source) == trained.translate(source)
    metrics = evaluation.evaluate(trained, CORPUS.test)
    aligned = metrics["alignment"] is not None
    assert aligned == (metrics["example"] is not None)
    assert aligned == (kind is TransformerModel)
    assert ("valid_aer" in trained.history[-1]) == aligned


def test_only_short_sources_are_trained_on():
    lengths = sorted(len(pair.source) for pair in CORPUS.train)
    most = lengths[len(lengths) // 2]
    recipe = replace(TINY, max_tokens=most)
    pairs = models.training_pairs(recipe, CORPUS)
    assert [p for p in CORPUS.train if len(p.source) <= most] == pairs
    assert 0 < len(pairs) < len(CORPUS.train)
    few = models.training_pairs(replace(recipe, num_train=3), CORPUS)
    assert few == pairs[:3]
    with pytest.raises(ValueError, match=r"max_tokens=1 leaves none"):
        models.training_pairs(replace(TINY, max_tokens=1), CORPUS)
    with pytest.raises(ValueError, match=r"max_tokens must be .* not -1"):
        replace(TINY, max_tokens=-1)


def small_captions():
    pairs = captions.generate(24, seed=3)
    return ParallelCorpus(
        "captions", "image", "en", pairs[:12], pairs[12:16], pairs[16:]
    )


@pytest.mark.parametrize(
    "model",
    [
        RecurrentConfig("gru", 6, 8, attention="dot", query="after"),
        RecurrentConfig("gru", 6, 8, context="every_step"),
        TransformerConfig(8, 2, 1, 12),
    ],
    ids=["attention", "plain", "transformer"],
)
@pytest.mark.parametrize("subwords", [0, 90])
def test_pictures_are_captioned_and_scored(model, subwords, monkeypatch):
    corpus = small_captions()
    monkeypatch.setattr(corpora, "load", lambda name, pair=None: corpus)
    recipe = replace(
        TINY,
        model=replace(model, encoder="image"),
        corpus="captions",
        subwords=subwords,
        training=replace(TINY.training, steps=2, evaluate_every=2),
    )
    trained = recipes.train(recipe, progress=False)
    metrics = evaluation.evaluate(trained, corpus.test)
    assert metrics["alignment"] is None and metrics["example"] is None
    assert metrics["recall_by_source_position"] is None
    found = metrics["captions"]
    numbers = [captions.num_shapes(pair.target) for pair in corpus.test]
    assert len(found["examples"]) == len(set(numbers)) == 4
    outputs = trained.translate([pair.source for pair in corpus.test])
    assert found["examples"][0] == outputs[numbers.index(1)]
    # The true captions are all right, and empty ones are all wrong.
    truth = [pair.target for pair in corpus.test]
    perfect = evaluation.evaluate_captions(trained, corpus.test, truth)
    assert perfect["exact_by_shapes"] == [1.0] * 4
    assert set(perfect["word_accuracy"].values()) == {1.0}
    empty = evaluation.evaluate_captions(
        trained, corpus.test, [()] * len(truth)
    )
    assert empty["exact_by_shapes"] == [0.0] * 4
    assert set(empty["word_accuracy"].values()) == {0.0}
    if trained.recipe.model.attends:
        for grid in evaluation.forced_weights(trained, corpus.test):
            assert grid.shape[1] == captions.REGIONS
            np.testing.assert_allclose(grid.sum(1), 1, atol=1e-5)
    assert found["loss"] == pytest.approx(math.log(metrics["perplexity"]))
    assert found["loss"] != found["wrong_picture_loss"]
    pointing = ("pointing", "wrong_picture_pointing", "shown_picture_pointing")
    for name in pointing:
        assert (name in found) == trained.recipe.model.attends
