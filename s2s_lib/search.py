"""From a model to a translation: greedy search, sampling, beam search.

One code for every decoder. A model needs two calls, `encode(source, mask) ->
memory` and `step(memory, token, state) -> logits, state, weights`, and must
keep the batch first in every tensor of its memory and state. Sentences are
decoded together, and a sentence that is finished leaves the batch. It all
runs in torch's inference mode: a model cannot learn with a tensor that it has
kept from a search.

A memory has one row per sentence. Tokens and states have as many as there are
beginnings of its translation, side by side: all of them read the one memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from s2s_lib.batches import cut, pad, take_rows
from s2s_lib.modes import evaluation_mode
from s2s_lib.onednn import packed_weights
from s2s_lib.subwords import AnyVocabulary
from s2s_lib.vocab import EOS, PAD, SOS

# Source positions decoded together: a very long line must not drag a hundred
# others to its length.
BATCH_TOKENS = 2**15
# Numbers of which one maximum is taken, on the way to the best of a row.
BLOCK = 100
# Keeps length ** length_penalty within a float.
MOST_PENALTY = 10

Choose = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Hypothesis:
    """One translation that a search found.

    Args:
        tokens: target ids, without `<sos>` and `<eos>`.
        log_prob: log P(tokens, <eos> | source) under the model, in nats.
        score: what the search ranked by; `log_prob` unless normalised.
        finished: False if the step limit came before `<eos>`; then
            `log_prob` covers the tokens alone.
    """

    tokens: tuple[int, ...]
    log_prob: float
    score: float
    finished: bool


def _step_limits(max_steps: int | Tensor, memory: Any) -> Tensor:
    batch, device = memory.mask.shape[0], memory.mask.device
    limits = torch.as_tensor(max_steps, device=device)
    if limits.is_floating_point():
        raise ValueError(
            f"max_steps must be a whole number, not {max_steps}; of lengths "
            "that were multiplied, (1.5 * lengths).long() is one"
        )
    if limits.dim() and limits.shape != (batch,):
        raise ValueError(
            f"max_steps must be one number or one per sentence ({batch}), "
            f"not of shape {tuple(limits.shape)}"
        )
    limits = limits.expand(batch)
    if batch and int(limits.min()) < 1:
        raise ValueError(
            f"max_steps must be 1 or more, not {int(limits.min())}"
        )
    return limits


def _log_probs(logits: Tensor) -> Tensor:
    """Log-probabilities in float32, never of `<pad>` or `<sos>`."""
    log_probs = logits.float().log_softmax(-1)
    # One NaN makes a whole row NaN, so one column is enough to look at.
    if bool(log_probs[..., EOS].isnan().any()):
        raise ValueError(
            "the model's logits hold NaN or infinity; its weights are "
            "damaged or its training has diverged"
        )
    log_probs[..., PAD] = log_probs[..., SOS] = -torch.inf
    return log_probs


def _best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest numbers of each row, and where they stand.

    The largest numbers stand in the blocks that have the largest maxima, and
    a maximum is found many times faster than an order.
    """
    blocks = scores.shape[1] // BLOCK
    if blocks <= count:
        return scores.topk(count, dim=1)
    whole, device = blocks * BLOCK, scores.device
    parts = scores[:, :whole].unflatten(1, (blocks, BLOCK))
    chosen = parts.amax(2).topk(count, dim=1).indices
    # chosen: (rows, count), numbers of blocks
    inside = torch.arange(BLOCK, device=device)
    places = (chosen[..., None] * BLOCK + inside).flatten(1)
    rest = torch.arange(whole, scores.shape[1], device=device)
    places = torch.cat([places, rest.expand(len(scores), -1)], dim=1)
    best, index = scores.gather(1, places).topk(count, dim=1)
    return best, places.gather(1, index)


@torch.inference_mode()
@packed_weights()
def _roll_out(
    model: Any, memory: Any, max_steps: int | Tensor, choose: Choose
) -> list[Hypothesis]:
    """Take one token per step and sentence, as `choose` says."""
    limits = _step_limits(max_steps, memory).tolist()
    batch, device = len(limits), memory.mask.device
    found: list[Hypothesis | None] = [None] * batch
    chosen: list[list[int]] = [[] for _ in range(batch)]
    alive = list(range(batch))  # the sentences still running
    totals = torch.zeros(batch, device=device)  # totals: (alive,)
    token, state = torch.full((batch,), SOS, device=device), None
    while alive:
        logits, state, _ = model.step(memory, token, state)
        log_probs = _log_probs(logits)  # log_probs: (alive, vocabulary)
        token = choose(log_probs)  # token: (alive,)
        totals = totals + log_probs.gather(1, token[:, None])[:, 0]
        drawn, sums, going = token.tolist(), totals.tolist(), []
        for row, s in enumerate(alive):
            ended = drawn[row] == EOS
            if not ended:
                chosen[s].append(drawn[row])
            if ended or len(chosen[s]) == limits[s]:
                total = sums[row]
                found[s] = Hypothesis(tuple(chosen[s]), total, total, ended)
            else:
                going.append(row)
        if len(going) < len(alive):
            alive = [alive[row] for row in going]
            keep = torch.tensor(going, dtype=torch.long, device=device)
            token, totals = token[keep], totals[keep]
            memory, state = take_rows(memory, keep), take_rows(state, keep)
    return found


def greedy(
    model: Any, memory: Any, max_steps: int | Int[Tensor, " batch"]
) -> list[Hypothesis]:
    """The most probable token at every step.

    Args:
        model: any decoder of the book.
        memory: what `model.encode` returned.
        max_steps: at most so many tokens, `<eos>` included; one number, or
            one per sentence.

    Raises:
        ValueError: if a limit is below 1, there is not one for each
            sentence, or the logits are NaN.
    """
    return _roll_out(model, memory, max_steps, lambda p: _best(p, 1)[1][:, 0])


def sample(
    model: Any,
    memory: Any,
    max_steps: int | Int[Tensor, " batch"],
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> list[Hypothesis]:
    """Draw every token at random from the model's distribution.

    Args:
        model, memory, max_steps: as for `greedy`.
        temperature: the logits are divided by it; below 1 the draw moves
            towards greedy search, above 1 towards a uniform one.
        top_k: draw from the k most probable tokens only (`fan2018`).
        generator: the source of randomness, on the model's device:
            `torch.Generator(device)`. A sentence draws other numbers in
            another batch.

    Raises:
        ValueError: if `temperature` is not positive, `top_k` or a limit is
            below 1, there is not a limit for each sentence, or the logits
            are NaN.
        RuntimeError: if `generator` is on another device than the model.
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature must be above 0, not {temperature}; "
            "the limit at 0 is greedy search"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be 1 or more, not {top_k}")
    # Both limits are reached long before; beyond them float32 overflows.
    temperature = min(max(temperature, 1e-30), 1e30)

    def draw(log_probs: Tensor) -> Tensor:
        scores = log_probs / temperature
        if top_k is not None and top_k < scores.shape[1]:
            best, ids = scores.topk(top_k, dim=1)  # best, ids: (alive, k)
            picked = torch.multinomial(best.softmax(1), 1, generator=generator)
            return ids.gather(1, picked)[:, 0]
        weights = scores.softmax(1)
        return torch.multinomial(weights, 1, generator=generator)[:, 0]

    return _roll_out(model, memory, max_steps, draw)


def normalised(
    log_prob: float, length: int, length_penalty: float = 0.0
) -> float:
    """Score of a hypothesis: `log_prob / length ** length_penalty`.

    `length` counts `<eos>`. 0 leaves the log-probability, which favours
    short translations; 1 takes the mean per token (`wu2016` discuss such
    norms).
    """
    return log_prob / length**length_penalty


@torch.inference_mode()
@packed_weights()
def beam(
    model: Any,
    memory: Any,
    beam_size: int,
    max_steps: int | Int[Tensor, " batch"],
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """Keep the `beam_size` best beginnings at every step.

    A beginning that draws `<eos>` while it is among the best leaves the
    beam and is kept aside. A sentence stops when no beginning in its beam
    can beat the hypotheses kept, so a beam wide enough is exhaustive search.
    Beginnings of exactly equal probability are taken in any order.

    Args:
        model, memory, max_steps: as for `greedy`.
        beam_size: k, the number of beginnings.
        length_penalty: exponent of the length in `normalised`, 0 to 10.

    Returns:
        Per sentence up to `beam_size` hypotheses, best score first. Those
        that the step limit cut off come after all that are finished.

    Raises:
        ValueError: if `beam_size` or a limit is below 1, there is not a
            limit for each sentence, `length_penalty` is not between 0 and
            10, or the logits are NaN.
    """
    if beam_size < 1:
        raise ValueError(f"beam_size must be 1 or more, not {beam_size}")
    if not 0 <= length_penalty <= MOST_PENALTY:  # nor NaN
        raise ValueError(
            f"length_penalty must be between 0 and {MOST_PENALTY}, not "
            f"{length_penalty}; 1 is the mean per token"
        )
    limits = _step_limits(max_steps, memory).tolist()
    batch, k, device = len(limits), beam_size, memory.mask.device
    kept: list[list[Hypothesis]] = [[] for _ in range(batch)]
    alive = list(range(batch))
    # At first every sentence has one beginning, the empty one, later k. Row
    # s * width + b of `token` and `state` is beginning b of sentence s.
    token, state = torch.full((batch,), SOS, device=device), None
    tokens = torch.zeros(batch, 1, 0, dtype=torch.long, device=device)
    totals = torch.zeros(batch, 1, device=device)
    length = 0
    while alive:
        length += 1
        logits, state, _ = model.step(memory, token, state)
        width, size = totals.shape[1], logits.shape[-1]
        log_probs = _log_probs(logits).unflatten(0, (-1, width))
        candidates = log_probs.add_(totals[..., None]).flatten(1)
        # Twice as many as needed: up to k of them may be ends.
        best, index = _best(candidates, min(2 * k, width * size))
        parent, drawn = index // size, index % size
        ends = drawn == EOS
        done = (ends[:, :k] & best[:, :k].isfinite()).nonzero(as_tuple=True)
        prefixes = tokens[done[0], parent[done]].tolist()
        for s, total, prefix in zip(
            done[0].tolist(), best[done].tolist(), prefixes, strict=True
        ):
            score = normalised(total, length, length_penalty)
            kept[alive[s]].append(
                Hypothesis(tuple(prefix), total, score, True)
            )
        # The k best that go on, in order: ends are pushed to the back.
        best = best.masked_fill(ends, -torch.inf)
        totals, order = best.topk(min(k, best.shape[1]), dim=1)
        # A place that nothing fills holds the best beginning again, at
        # probability zero: the model is only ever fed what can occur.
        order = order.where(totals.isfinite(), order[:, :1])
        parent, drawn = parent.gather(1, order), drawn.gather(1, order)
        rows = torch.arange(len(alive), device=device)[:, None]
        tokens = torch.cat([tokens[rows, parent], drawn[..., None]], dim=2)

        going, bests = [], totals[:, 0].tolist()
        for s, sentence in enumerate(alive):
            limit, done = limits[sentence], kept[sentence]
            done.sort(key=lambda h: -h.score)
            del done[k:]
            # Extending a beginning can only lower its log-probability, and
            # the longest extension is the one with the mildest norm.
            bound = normalised(bests[s], limit, length_penalty)
            if length >= limit:
                done.extend(_cut_off(tokens[s], totals[s], length_penalty))
                del done[k:]
            elif bound > -torch.inf and (
                len(done) < k or bound > done[-1].score
            ):
                going.append(s)
        keep = torch.tensor(going, dtype=torch.long, device=device)
        if len(going) < len(alive):
            alive = [alive[s] for s in going]
            memory, tokens = take_rows(memory, keep), tokens[keep]
            totals, drawn, parent = totals[keep], drawn[keep], parent[keep]
        state = take_rows(state, (keep[:, None] * width + parent).flatten())
        token = drawn.flatten()
    return kept


def _cut_off(
    tokens: Tensor, totals: Tensor, length_penalty: float
) -> list[Hypothesis]:
    """The beginnings that the step limit stopped, best first."""
    return [
        Hypothesis(
            tuple(row),
            total,
            normalised(total, len(row), length_penalty),
            False,
        )
        for row, total in zip(tokens.tolist(), totals.tolist(), strict=True)
        if total > -torch.inf
    ]


def n_best(
    model: Any,
    sentences: Sequence[Sequence[str]],
    source_vocab: AnyVocabulary,
    beam_size: int = 1,
    length_penalty: float = 0.0,
    max_steps: int | None = None,
    batch_size: int = 128,
) -> list[list[Hypothesis]]:
    """Translate tokenised sentences; hypotheses in the order of the input.

    Args:
        model: a trained model; it is put in evaluation mode meanwhile.
        sentences: source tokens, without `<eos>`; a sentence may be empty.
        source_vocab: the vocabulary that the model was trained with.
        beam_size: 1, without a length penalty, is greedy search.
        length_penalty: see `beam`.
        max_steps: limit for every sentence; by default one and a half times
            the encoded source, and 10 more. Where a model with learned
            positions has fewer left, those are the limit in either case.
        batch_size: sentences decoded together, of similar length; fewer
            where they are so long that they have over `BATCH_TOKENS` tokens.

    Raises:
        ValueError: if `beam_size`, `max_steps` or `batch_size` is below 1,
            `length_penalty` is not between 0 and 10, a sentence is too long
            for the model's learned positions, or its logits are NaN.
    """
    device = next(model.parameters()).device
    ids = [[*source_vocab.encode(tokens), EOS] for tokens in sentences]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    results: list[list[Hypothesis]] = [[] for _ in ids]
    with evaluation_mode(model), packed_weights():
        lengths = [len(row) for row in ids]
        for rows in cut(order, lengths, BATCH_TOKENS, batch_size):
            source, mask = pad([ids[row] for row in rows])
            with torch.inference_mode():
                memory = model.encode(source.to(device), mask.to(device))
            limits = memory.mask.sum(1) * 3 // 2 + 10
            if max_steps is not None:
                most = torch.iinfo(limits.dtype).max
                limits = torch.full_like(limits, min(max_steps, most))
            if hasattr(model, "room"):
                limits = limits.minimum(model.room(memory).clamp(min=1))
            if beam_size == 1 and length_penalty == 0:
                found = [[h] for h in greedy(model, memory, limits)]
            else:
                found = beam(model, memory, beam_size, limits, length_penalty)
            for row, hypotheses in zip(rows, found, strict=True):
                results[row] = hypotheses
    return results


def translate(
    model: Any,
    sentences: Sequence[Sequence[str]],
    source_vocab: AnyVocabulary,
    target_vocab: AnyVocabulary,
    **options: Any,
) -> list[list[str]]:
    """The best translation of each sentence, as tokens; see `n_best`."""
    found = n_best(model, sentences, source_vocab, **options)
    return [target_vocab.decode(best[0].tokens) for best in found]
