"""Attention: a query is compared with keys, and values are averaged.

`attend` is the one function that the whole book turns on. What differs
between models is the score that compares a query with a key; each score here
is a module with two calls:

- `project_keys(states)`: what can be computed once per sentence;
- `score(query, keys)`: one number for each pair of query and key.

Masks are True where there is something to attend to.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s2s_lib import additive
from s2s_lib.onednn import Linear

Score = Callable[[Tensor, Tensor], Tensor]


def masked_softmax(
    scores: Float[Tensor, "*batch queries keys"],
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*batch queries keys"]:
    """Softmax over the keys that `mask` allows; exactly 0 on the others.

    The sum is taken in float32 at least, whatever the type of `scores`. A
    row with nothing to attend to gets weights that are all 0.

    Args:
        scores: in any unit; only differences within a row matter.
        mask: True on keys that count; any shape that broadcasts to `scores`,
            such as (batch, 1, keys).

    Raises:
        TypeError: if the mask is not boolean, or the scores are whole
            numbers, as the weights would then be.
        ValueError: if the mask does not broadcast to `scores`.
    """
    if not scores.is_floating_point():
        raise TypeError(
            f"scores must be floating-point numbers, not {scores.dtype}; "
            "scores.float() makes them so"
        )
    kind, wide = scores.dtype, torch.promote_types(scores.dtype, torch.float32)
    if mask is None:
        return scores.to(wide).softmax(-1).to(kind)
    if mask.dtype != torch.bool:
        raise TypeError(
            f"a mask must be boolean, True on keys that count, not "
            f"{mask.dtype}; mask.bool() makes it so"
        )
    try:
        hidden = (~mask).expand(scores.shape)
    except RuntimeError as error:
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} does not fit scores of "
            f"shape {tuple(scores.shape)}; give it a shape that broadcasts, "
            "such as mask[:, None] for (batch, keys)"
        ) from error
    # One name for all that follows, so that no more than two tensors of this
    # size are held. The lowest finite number, not -inf: a row of -inf has no
    # softmax.
    lowest = torch.finfo(wide).min
    scores = scores.to(wide).masked_fill(hidden, lowest)
    scores = scores.softmax(-1)
    return scores.masked_fill(hidden, 0.0).to(kind)


def dot_score(
    query: Float[Tensor, "*#batch queries size"],
    keys: Float[Tensor, "*#batch keys size"],
) -> Float[Tensor, "*#batch queries keys"]:
    """The dot product of each query with each key."""
    return query @ keys.mT


def scaled_dot_score(
    query: Float[Tensor, "*#batch queries size"],
    keys: Float[Tensor, "*#batch keys size"],
) -> Float[Tensor, "*#batch queries keys"]:
    """The dot product divided by sqrt(size) (`vaswani2017`).

    It is the query that is divided: in float16 the product may not fit.
    """
    return query / math.sqrt(query.shape[-1]) @ keys.mT


def attend(
    query: Float[Tensor, "*#batch queries query_size"],
    keys: Float[Tensor, "*#batch keys key_size"],
    values: Float[Tensor, "*#batch keys value_size"],
    mask: Bool[Tensor, "..."] | None = None,
    score: Score = scaled_dot_score,
) -> tuple[
    Float[Tensor, "*#batch queries value_size"],
    Float[Tensor, "*#batch queries keys"],
]:
    """Average `values`, weighted by how well each key fits the query.

    Args:
        query, keys, values: what is looked for, what it is compared with,
            and what is returned. Behind the mask any finite number may
            stand: its weight is 0. Batches broadcast: one sentence's keys
            serve for many rows of queries.
        mask: True on keys that count; see `masked_softmax`.
        score: compares queries with keys.

    Returns:
        context: the weighted mean of the values, one per query.
        weights: the weights that were used; each row sums to 1, or is all 0
            where the mask leaves nothing.
    """
    weights = masked_softmax(score(query, keys), mask)
    return weights @ values, weights


class AdditiveScore(nn.Module):
    """`v^T tanh(W_q q + W_k k)`, a small network (`bahdanau2015`).

    Also called concat or MLP (multi-layer perceptron) attention. A few
    queries, as in a decoder's step, are answered by the formula as it
    stands; for many, `additive` has the same numbers faster, and without the
    tensor of queries by keys by hidden units.
    """

    def __init__(self, query_size: int, key_size: int, hidden_size: int):
        super().__init__()
        self.query = Linear(query_size, hidden_size, bias=False)
        self.key = Linear(key_size, hidden_size, bias=False)
        self.v = nn.Linear(hidden_size, 1, bias=False)

    def project_keys(
        self, states: Float[Tensor, "*batch keys key_size"]
    ) -> Float[Tensor, "*batch keys hidden"]:
        return self.key(states)

    def forward(
        self,
        query: Float[Tensor, "*#batch queries query_size"],
        keys: Float[Tensor, "*#batch keys hidden"],
    ) -> Float[Tensor, "*#batch queries keys"]:
        query, weight = self.query(query), self.v.weight[0]
        # query: (batch, queries, hidden); weight: (hidden,)
        if query.shape[:-2] != keys.shape[:-2]:  # one serves for several
            batch = torch.broadcast_shapes(query.shape[:-2], keys.shape[:-2])
            query, keys = (x.expand(*batch, -1, -1) for x in (query, keys))
        fast = additive.for_many(query, keys)
        if fast:
            return fast(query, keys, weight)
        # tanh(x) = 2 sigmoid(2 x) - 1, and the sigmoid takes less time.
        twice = torch.add(
            2 * query[..., :, None, :], keys[..., None, :, :], alpha=2
        )
        # twice: (batch, queries, keys, hidden), 2 (W_q q + W_k k)
        return 2 * (twice.sigmoid_() @ weight) - weight.sum()


class DotScore(nn.Module):
    """`q^T k`: the query and the key as they are (`luong2015`).

    A key that is a whole number of queries long, as the states of a
    bidirectional encoder are, is folded: its parts are added up.
    """

    scale = staticmethod(dot_score)

    def __init__(self, query_size: int, key_size: int):
        super().__init__()
        if key_size % query_size:
            raise ValueError(
                f"a dot product needs keys of the query's size {query_size}, "
                f"or a multiple of it to fold, not {key_size}; general "
                "attention takes any two sizes"
            )
        self.query_size = query_size

    def project_keys(
        self, states: Float[Tensor, "*batch keys key_size"]
    ) -> Float[Tensor, "*batch keys size"]:
        return states.unflatten(-1, (-1, self.query_size)).sum(-2)

    def forward(
        self,
        query: Float[Tensor, "*#batch queries size"],
        keys: Float[Tensor, "*#batch keys size"],
    ) -> Float[Tensor, "*#batch queries keys"]:
        return self.scale(query, keys)


class ScaledDotScore(DotScore):
    """`q^T k / sqrt(d)`: the spread does not grow with d (`vaswani2017`)."""

    scale = staticmethod(scaled_dot_score)


class GeneralScore(nn.Module):
    """`q^T W k`, a bilinear form; W maps keys to the query's size
    (`luong2015`)."""

    def __init__(self, query_size: int, key_size: int):
        super().__init__()
        self.key = Linear(key_size, query_size, bias=False)

    def project_keys(
        self, states: Float[Tensor, "*batch keys key_size"]
    ) -> Float[Tensor, "*batch keys size"]:
        return self.key(states)

    def forward(
        self,
        query: Float[Tensor, "*#batch queries size"],
        keys: Float[Tensor, "*#batch keys size"],
    ) -> Float[Tensor, "*#batch queries keys"]:
        return dot_score(query, keys)


class LocationScore(nn.Module):
    """`W q`: where to look follows from the query alone (`luong2015`).

    One row of W per source position, so there is a longest source.
    """

    def __init__(self, query_size: int, max_positions: int = 128):
        super().__init__()
        self.position = nn.Linear(query_size, max_positions, bias=False)

    def project_keys(
        self, states: Float[Tensor, "*batch keys key_size"]
    ) -> Float[Tensor, "*batch keys key_size"]:
        return states

    def forward(
        self,
        query: Float[Tensor, "*#batch queries query_size"],
        keys: Float[Tensor, "*#batch keys key_size"],
    ) -> Float[Tensor, "*#batch queries keys"]:
        """See `Score`.

        Raises:
            ValueError: if there are more keys than rows of W.
        """
        count, most = keys.shape[-2], self.position.out_features
        if count > most:
            raise ValueError(
                f"a source of {count} positions is longer than the {most} "
                "that this location score has weights for; shorten it, or "
                "take a score that looks at the keys"
            )
        return self.position(query)[..., :count]


SCORES = ("additive", "dot", "general", "scaled_dot", "location")


def make_score(
    name: str, query_size: int, key_size: int, hidden_size: int
) -> nn.Module:
    """A score by its name in `SCORES`; `hidden_size` is the additive one's.

    Raises:
        ValueError: if there is no such score, or the sizes do not fit.
    """
    if name == "additive":
        return AdditiveScore(query_size, key_size, hidden_size)
    if name == "dot":
        return DotScore(query_size, key_size)
    if name == "general":
        return GeneralScore(query_size, key_size)
    if name == "scaled_dot":
        return ScaledDotScore(query_size, key_size)
    if name == "location":
        return LocationScore(query_size)
    raise ValueError(f"attention must be one of {SCORES}, not {name!r}")


SELECTIONS = ("soft", "hard", "straight_through")


def select(
    weights: Float[Tensor, "*batch queries keys"],
    selection: str,
    training: bool,
) -> Float[Tensor, "*batch queries keys"]:
    """The weights that are used: all of them, or all on one position.

    Args:
        weights: soft weights, as `attend` returns them.
        selection: "soft" leaves them. The other two take one position, drawn
            at random while training and the heaviest one otherwise. No
            gradient flows through "hard" (`xu2015`); "straight_through"
            draws with Gumbel noise and lends the step the gradient of the
            soft weights (`jang2017`).
        training: draw, rather than take the heaviest.

    Raises:
        ValueError: if `selection` is none of `SELECTIONS`.
    """
    if selection not in SELECTIONS:
        raise ValueError(
            f"selection must be one of {SELECTIONS}, not {selection!r}"
        )
    if selection == "soft":
        return weights
    if training:
        # The largest log-probability plus Gumbel noise is a fair draw.
        noise = -torch.empty_like(weights).exponential_().log()
        scores = weights.clamp(min=1e-30).log() + noise
        weights = masked_softmax(scores, weights > 0)
    best = weights.argmax(-1, keepdim=True)
    one = torch.zeros_like(weights).scatter(-1, best, 1.0)
    one = one * (weights > 0)  # nothing to attend to: nothing is picked
    if selection == "hard":
        return one
    return one + (weights - weights.detach())
