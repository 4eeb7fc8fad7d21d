"""The mistakes that people make in attention, to be put in on purpose.

Chapter 9 trains a right model with each of them and shows the symptoms.
`inject` changes one thing in a model and nothing else. (Keys that are made of
embeddings have another size, so they come with a matrix of their own, as in
general attention.)
"""

from collections.abc import Callable, Sequence
from types import MethodType

import torch
from torch import Tensor

from s2s_lib.attention import AdditiveScore, GeneralScore, attend
from s2s_lib.batches import EncodedPair
from s2s_lib.recurrent import AttentionDecoder, RecurrentModel


def _no_mask(model: RecurrentModel) -> None:
    """Padding is attended to like words."""

    def look(self, memory, query, coverage=None):
        return attend(query, memory.keys, memory.states, None, self.score)

    model.decoder.look = MethodType(look, model.decoder)


def _reads_padding(model: RecurrentModel) -> None:
    """No mask anywhere: the encoder too reads padding like words."""
    right = RecurrentModel.encode

    def encode(self, source, source_mask):
        return right(self, source, torch.ones_like(source_mask))

    model.encode = MethodType(encode, model)


def _wrong_axis(model: RecurrentModel) -> None:
    """The softmax runs over the target steps, not over the source."""

    def look(self, memory, query, coverage=None):
        scores = self.score(query, memory.keys)
        weights = scores.softmax(dim=1)
        # weights: (batch, target_steps, source_steps)
        weights = weights * memory.mask[:, None]
        return weights @ memory.states, weights

    model.decoder.look = MethodType(look, model.decoder)


class _Untwisted(AdditiveScore):
    """Additive attention without its tanh."""

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        query = self.query(query)
        both = query[..., :, None, :] + keys[..., None, :, :]
        return both @ self.v.weight[0]


def _no_tanh(model: RecurrentModel) -> None:
    """The score is `v^T (W_q q + W_k k)`, without the tanh."""
    if not isinstance(model.decoder.score, AdditiveScore):
        raise ValueError('no_tanh needs attention="additive"')
    model.decoder.score.__class__ = _Untwisted


def _late_query(model: RecurrentModel) -> None:
    """In training, each step asks with the state of the step before.

    `roll` goes in a circle: the first step asks with the last state.
    """
    right = AttentionDecoder.look

    def look(self, memory, query, coverage=None):
        return right(self, memory, query.roll(1, dims=1), coverage)

    model.decoder.look = MethodType(look, model.decoder)


def _keys_from_embeddings(model: RecurrentModel) -> None:
    """Keys are made of the source's embeddings, not of encoder states."""
    size = model.encoder.embedding.embedding_dim
    model.decoder.score = GeneralScore(model.config.hidden_size, size)
    encoder, right = model.encoder, RecurrentModel.encode

    def encode(self, source, source_mask):
        memory = right(self, source, source_mask)
        words = encoder.embedding(source)
        return memory._replace(keys=self.decoder.score.key(words))

    model.decoder.score.project_keys = lambda states: states
    model.encode = MethodType(encode, model)


def _no_end(model: RecurrentModel) -> None:
    """The end symbol is not among the words to be learned (see `spoil`)."""


BUGS: dict[str, Callable[[RecurrentModel], None]] = {
    "no_mask": _no_mask,
    "reads_padding": _reads_padding,
    "wrong_axis": _wrong_axis,
    "no_tanh": _no_tanh,
    "late_query": _late_query,
    "keys_from_embeddings": _keys_from_embeddings,
    "no_end": _no_end,
}


def inject(model: RecurrentModel, name: str) -> RecurrentModel:
    """Put the bug `name` of `BUGS` into a model, in place.

    Raises:
        ValueError: if there is no such bug, or the model has no attention.
    """
    if name not in BUGS:
        raise ValueError(f"bug must be one of {tuple(BUGS)}, not {name!r}")
    if not isinstance(model.decoder, AttentionDecoder):
        raise ValueError("the bugs are bugs of attention; this model has none")
    BUGS[name](model)
    return model


def spoil(pairs: Sequence[EncodedPair], name: str) -> list[EncodedPair]:
    """The training pairs as the bug `name` has them.

    "no_end" leaves out the end of each target; the others change nothing.
    """
    if name != "no_end":
        return list(pairs)
    return [
        EncodedPair(pair.source, pair.target[:-1] or pair.target)
        for pair in pairs
    ]
