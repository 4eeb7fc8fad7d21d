"""What the book trains: every recipe, by name.

A recipe says everything that determines a training but the seed: corpus,
model, training settings. `RECIPES` has those of the book; `recipes` trains
them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from s2s_lib import bugs, corpora
from s2s_lib.attention import SCORES
from s2s_lib.recurrent import RecurrentConfig
from s2s_lib.subwords import check_dropout
from s2s_lib.training import TrainingConfig
from s2s_lib.transformer import POSITIONS, TransformerConfig


@dataclass(frozen=True)
class Recipe:
    """A training, but for its seed.

    Args:
        model: the architecture; vocabulary sizes follow from the corpus.
        training: the training settings.
        corpus, pair: what `corpora.load` is given.
        min_count: a training word that is rarer becomes `<unk>`.
        reverse_source: feed the source from its end (`sutskever2014`).
        num_train: train on the first so many pairs only; 0 takes all.
        max_tokens: train on sources of at most so many tokens; 0 takes all.
        bug: a mistake of `bugs.BUGS` to make on purpose, or "none".
        subwords: ids of one subword vocabulary for both sides, in the place
            of a vocabulary of words for each; 0 for words.
        subword_dropout: share of the merges that are left out when training
            pairs are spelled, anew in each epoch; see
            `SubwordVocabulary.encode_anew`.
        beam_size, length_penalty: how the test split is translated; see
            `search.n_best`.

    Raises:
        ValueError: if a value is outside what is listed here.
    """

    model: RecurrentConfig | TransformerConfig = field(
        default_factory=RecurrentConfig
    )
    training: TrainingConfig = field(default_factory=TrainingConfig)
    corpus: str = "generated"
    pair: str | None = None
    min_count: int = 1
    reverse_source: bool = False
    num_train: int = 0
    max_tokens: int = 0
    bug: str = "none"
    subwords: int = 0
    subword_dropout: float = 0.0
    beam_size: int = 1
    length_penalty: float = 0.0

    def __post_init__(self):
        if self.subwords < 0:
            raise ValueError(
                f"subwords must be 0 (words) or more, not {self.subwords}"
            )
        check_dropout(self.subword_dropout, "subword_dropout")
        if self.subword_dropout and not self.subwords:
            raise ValueError(
                f"subword_dropout={self.subword_dropout} needs a vocabulary "
                "of subwords; give subwords a size"
            )
        if self.subword_dropout and self.bug == "no_end":
            raise ValueError(
                "bug='no_end' is not made with subword_dropout; leave one of "
                "them out"
            )
        if self.min_count < 1:
            raise ValueError(
                f"min_count must be 1 (all words) or more, not "
                f"{self.min_count}"
            )
        if self.subwords and self.min_count > 1:
            raise ValueError(
                f"min_count={self.min_count} is for a vocabulary of words; "
                f"with subwords={self.subwords} leave it at 1"
            )
        for name in ("num_train", "max_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{name} must be 0 (all) or more, "
                    f"not {getattr(self, name)}"
                )
        if self.bug not in ("none", *bugs.BUGS):
            raise ValueError(
                f"bug must be none or one of {tuple(bugs.BUGS)}, "
                f"not {self.bug!r}"
            )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Recipe":
        """The recipe that `asdict` made `settings` of.

        A setting that is missing has its default: the file is older.

        Raises:
            KeyError: without `model` or `training`.
            TypeError: for a setting that there is not.
            ValueError: for a value that is not allowed.
        """
        settings = dict(settings)
        transformer = "num_heads" in settings["model"]
        config = TransformerConfig if transformer else RecurrentConfig
        settings["model"] = config(**settings["model"])
        settings["training"] = TrainingConfig(**settings["training"])
        return cls(**settings)


def _change(recipe: Recipe, model: dict, training: dict, **rest) -> Recipe:
    return replace(
        recipe,
        model=replace(recipe.model, **model),
        training=replace(recipe.training, **training),
        **rest,
    )


# Without attention, on the generated corpus: C enters at every step.
PLAIN = Recipe(
    RecurrentConfig(context="every_step", dropout=0.1),
    TrainingConfig(steps=1000, learning_rate=8e-3, schedule="linear"),
)


# With attention, on the same corpus at the same size.
ADDITIVE = replace(
    PLAIN,
    model=RecurrentConfig(attention="additive", dropout=0.1),
    training=replace(PLAIN.training, steps=500, evaluate_every=50),
)
AFTER = replace(
    ADDITIVE,
    model=RecurrentConfig(attention="dot", query="after", dropout=0.1),
    training=replace(ADDITIVE.training, evaluate_every=100),
)


TRANSFORMER = Recipe(
    TransformerConfig(dropout=0.1),
    replace(AFTER.training, learning_rate=4e-3, warmup=50),
)


UNSORTED = replace(AFTER, training=replace(AFTER.training, bucket=False))
MULTI30K = Recipe(
    RecurrentConfig(
        embedding_size=128,
        hidden_size=256,
        context="every_step",
        dropout=0.3,
    ),
    TrainingConfig(
        steps=1000,
        batch_size=128,
        learning_rate=4e-3,
        schedule="linear",
    ),
    corpus="multi30k",
    pair="en-fr",
    min_count=3,
)


UNITS = replace(
    TRANSFORMER,
    training=replace(TRANSFORMER.training, steps=900, evaluate_every=300),
    corpus="multi30k",
    pair="en-fr",
)
# The benchmark: subwords, and the Transformer of the literature's size.
TINY = Recipe(
    TransformerConfig(num_layers=4, dropout=0.3, shared_embeddings=True),
    TrainingConfig(
        steps=4000,
        batch_tokens=4096,
        learning_rate=4e-3,
        schedule="linear",
        warmup=400,
        label_smoothing=0.1,
        average=10,
        evaluate_every=100,
    ),
    corpus="multi30k",
    subwords=10_000,
    beam_size=5,
    length_penalty=1.0,
)
# Recurrent models of about the same size. By trials on the validation split:
# with half the positions in an update, less dropout and half the rate they
# learn more from as many sentences.
_GRU = _change(
    replace(
        TINY,
        model=RecurrentConfig(
            embedding_size=128,
            hidden_size=256,
            dropout=0.2,
            shared_embeddings=True,
        ),
    ),
    {},
    {
        "steps": 8000,
        "batch_tokens": 2048,
        "learning_rate": 2e-3,
        "warmup": 800,
        "evaluate_every": 200,
    },
)
BENCHMARK = {
    "": TINY,
    "attention-": _change(_GRU, {"attention": "dot", "query": "after"}, {}),
    "plain-": _change(_GRU, {"context": "every_step"}, {}),
}


RECIPES: dict[str, Recipe] = {
    "plain": PLAIN,
    # Three times the budget: what is slow learning, and what is not?
    "plain-long": _change(PLAIN, {}, {"steps": 3000}),
    # And three times that, and again: where does it stop to help?
    "plain-longer": _change(PLAIN, {}, {"steps": 9000, "evaluate_every": 600}),
    "plain-longest": _change(
        PLAIN, {}, {"steps": 27000, "evaluate_every": 900}
    ),
    # C squeezed to so many numbers by one more layer; plain has 256 and no
    # such layer, so 256 is here too.
    **{
        f"context-{size}": _change(PLAIN, {"context_size": size}, {})
        for size in (4, 16, 64, 256)
    },
    "context-64-long": _change(PLAIN, {"context_size": 64}, {"steps": 3000}),
    # One reader, from the start to the end, and the same backwards.
    "one-way": _change(PLAIN, {"bidirectional": False}, {}),
    "one-way-reversed": _change(
        PLAIN, {"bidirectional": False}, {}, reverse_source=True
    ),
    # C as the first state and nothing else, with two readers and with one;
    # then the other two cells, on both sides. Rates: python -m tools.rates.
    "plain-once": _change(PLAIN, {"context": "initial"}, {}),
    **{
        f"one-way-once{order}": _change(
            PLAIN,
            {"context": "initial", "bidirectional": False},
            {"learning_rate": 16e-3},
            reverse_source=bool(order),
        )
        for order in ("", "-reversed")
    },
    "plain-lstm": _change(PLAIN, {"cell": "lstm"}, {}),
    "plain-rnn": _change(PLAIN, {"cell": "rnn"}, {"learning_rate": 4e-3}),
    # Scheduled sampling: the share of true tokens at the last step.
    **{
        f"scheduled-{percent}": _change(
            PLAIN, {}, {"teacher_forcing": percent / 100}
        )
        for percent in (50, 0)
    },
    # Attention of Bahdanau's form, at the size of PLAIN: half the steps are
    # about the same time, and all of them the same number of sentences.
    "additive": ADDITIVE,
    "additive-long": _change(ADDITIVE, {}, {"steps": 1000}),
    "additive-longer": _change(
        ADDITIVE, {}, {"steps": 3000, "evaluate_every": 200}
    ),
    "additive-longest": _change(
        ADDITIVE, {}, {"steps": 9000, "evaluate_every": 300}
    ),
    # The same at about a third of the rate.
    "additive-low-rate": _change(
        ADDITIVE,
        {},
        {"steps": 9000, "evaluate_every": 300, "learning_rate": 3e-3},
    ),
    "coverage": _change(ADDITIVE, {"coverage": True}, {}),
    # Luong's form, and every score on the same terms.
    **{
        f"{score.replace('_', '-')}-after": _change(
            AFTER, {"attention": score}, {}
        )
        for score in SCORES
    },
    "input-feeding": _change(AFTER, {"input_feeding": True}, {}),
    # Batches of mixed lengths, with as much padding as words.
    "unsorted": UNSORTED,
    # The mistakes of Chapter 9, one each, on the terms of dot-after, but for
    # two that need another model or other batches.
    **{
        f"bug-{bug.replace('_', '-')}": replace(
            {
                "no_tanh": _change(AFTER, {"attention": "additive"}, {}),
                "reads_padding": UNSORTED,
            }.get(bug, AFTER),
            bug=bug,
        )
        for bug in bugs.BUGS
    },
    "bug-little-data": replace(AFTER, num_train=300),
    # Hard attention: drawn positions, on the terms of dot-after.
    "hard-reinforce": _change(
        AFTER, {"selection": "hard"}, {"objective": "reinforce"}
    ),
    "hard-mean": _change(
        AFTER, {"selection": "hard"}, {"objective": "reinforce_mean"}
    ),
    "hard-none": _change(
        AFTER, {"selection": "hard"}, {"objective": "reinforce_none"}
    ),
    "straight-through": _change(AFTER, {"selection": "straight_through"}, {}),
    # The Transformer, at as many numbers per position as the recurrent
    # models have in a state, and on the terms of those with attention.
    "transformer": TRANSFORMER,
    "transformer-long": _change(TRANSFORMER, {}, {"steps": 1000}),
    "transformer-post": _change(TRANSFORMER, {"norm": "post"}, {}),
    "transformer-cold": _change(TRANSFORMER, {}, {"warmup": 0}),
    "transformer-post-cold": _change(
        TRANSFORMER, {"norm": "post"}, {"warmup": 0}
    ),
    "decoder-only": _change(TRANSFORMER, {"decoder_only": True}, {}),
    # Trained on sources of at most 30 tokens, to be tested on longer ones.
    **{
        f"short-{positions}": replace(
            _change(TRANSFORMER, {"positions": positions}, {}), max_tokens=30
        )
        for positions in POSITIONS
    },
    "short-dot": replace(AFTER, max_tokens=30),
    # Pictures and captions: the encoder is another, and nothing else.
    **{
        f"captions-{name}": replace(
            _change(
                recipe,
                {"encoder": "image"},
                {
                    "steps": 600,
                    "evaluate_every": 100,
                    "warmup": 20,
                    "learning_rate": rate,
                },
            ),
            corpus="captions",
            pair="image-en",
        )
        for name, recipe, rate in (
            ("plain", PLAIN, 1e-2),
            ("attention", AFTER, 1e-2),
            # The same score and size, the context in the cell.
            ("before", _change(AFTER, {"query": "before"}, {}), 1e-2),
            ("transformer", TRANSFORMER, 4e-3),
        )
    },
    # Toy tasks whose right alignment is known.
    **{
        f"{task}-{name}": replace(
            _change(recipe, {}, {"steps": 500, "evaluate_every": 100}),
            corpus=task,
        )
        for task in corpora.TOYS
        for name, recipe in (
            ("plain", PLAIN),
            ("once", _change(PLAIN, {"context": "initial"}, {})),
            ("attention", AFTER),
        )
    },
    # Real sentences: about four times through Multi30k; with attention twice,
    # and four times.
    "multi30k-plain": MULTI30K,
    **{
        f"multi30k-additive{suffix}": _change(
            MULTI30K,
            {"context": "initial", "attention": "additive"},
            {"steps": steps},
        )
        for suffix, steps in {"": 500, "-long": 1000}.items()
    },
    # What a vocabulary of words, of characters or of pieces is worth, on real
    # sentences and twice through them.
    **{
        f"subwords-{size}": replace(UNITS, subwords=size)
        for size in (76, 1000, 4000, 10_000)
    },
    **{f"words-{count}": replace(UNITS, min_count=count) for count in (1, 3)},
    # The benchmark: three models, two pairs of languages.
    **{
        f"benchmark-{name}{pair}": replace(recipe, pair=pair)
        for name, recipe in BENCHMARK.items()
        for pair in ("en-fr", "en-de")
    },
    # The Transformer once more, with twice the updates.
    **{
        f"benchmark-long-{pair}": _change(
            TINY, {}, {"steps": 8000, "evaluate_every": 200}, pair=pair
        )
        for pair in ("en-fr", "en-de")
    },
    # And in updates of half the size, as the recurrent models have them: half
    # the positions, twice the updates, three quarters of the rate; and some
    # with more of them.
    **{
        f"benchmark-{name}-{pair}": _change(
            TINY,
            {},
            {
                "steps": steps,
                "batch_tokens": 2048,
                "learning_rate": 3e-3,
                "warmup": 800,
                "evaluate_every": steps // 40,
            },
            pair=pair,
        )
        for name, steps in (
            ("small-batch", 8000),
            ("small-batch-long", 16_000),
            ("small-batch-longest", 28_000),
        )
        for pair in ("en-fr", "en-de")
    },
    # The same made small, on the short sentences of the generated corpus: a
    # minute at most. That is too short to need dropout, and the mean of the
    # weights would take more evaluations than there is time for.
    "benchmark-minute": replace(
        _change(
            TINY,
            {"num_layers": 2, "dropout": 0.0},
            {
                "steps": 350,
                "batch_tokens": 512,
                "learning_rate": 3e-3,
                "warmup": 40,
                "average": 0,
                "evaluate_every": 350,
            },
        ),
        corpus="generated",
        subwords=400,
        max_tokens=12,
    ),
    # One of its parts left out at a time, in half the updates.
    **{
        f"ablation-{name}": _change(
            TINY, model, {"steps": 2000} | training, pair="en-fr"
        )
        for name, model, training in (
            ("none", {}, {}),
            ("smoothing", {}, {"label_smoothing": 0.0}),
            ("dropout", {"dropout": 0.0}, {}),
            ("warmup", {}, {"warmup": 0}),
        )
    },
}
