"""Hard attention: one position per step, drawn and not averaged.

The draw has no gradient, so the score is trained by REINFORCE
(`williams1992`, for attention `xu2015`): positions whose word then got a
high probability are made more likely. What a draw is compared with, the
baseline, changes the variance of that gradient and not its mean.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2s_lib.attention import attend
from s2s_lib.batches import Batch
from s2s_lib.recurrent import run_loop

BASELINES = ("other", "mean", "none")


def reinforce_loss(
    model: Any, batch: Batch, baseline: str = "other"
) -> Float[Tensor, ""]:
    """A loss whose gradient estimates that of the expected loss.

    With z the drawn positions and L(z) the negative log-probability of the
    true word, the gradient of E[L(z)] is
    `E[grad L(z) + (L(z) - b) grad log p(z)]` for every b that does not
    depend on z. A draw matters for its own word only, because the decoder
    does not see earlier contexts.

    Args:
        model: a recurrent model with `query="after"` and without input
            feeding or coverage.
        batch: sentence pairs.
        baseline: b. "none" is 0; "mean" the mean of L over the batch, which
            depends on z a little; "other" is the L of a second draw for the
            same word (`kool2019`), and the two take turns.

    Returns:
        The mean over real tokens, in nats, plus a term of value 0.

    Raises:
        ValueError: if the model is of another kind, or there is no such
            baseline.
    """
    if baseline not in BASELINES:
        raise ValueError(
            f"baseline must be one of {BASELINES}, not {baseline!r}"
        )
    decoder = model.decoder
    if getattr(decoder, "stepwise", True):
        raise ValueError(
            "REINFORCE is written for decoders whose draws do not meet: "
            'set attention to a score, query="after", and leave '
            "input_feeding and coverage off"
        )
    memory = model.encode(batch.source, batch.source_mask)
    inputs = decoder.dropout(decoder.embedding(batch.target_in))
    hidden, _ = run_loop(decoder.loop, inputs, memory.initial)
    _, weights = attend(
        hidden, memory.keys, memory.states, memory.mask[:, None], decoder.score
    )
    # weights: (batch, target_steps, source_steps), here probabilities of z
    draws = [
        _draw(decoder, memory.states, hidden, weights, batch)
        for _ in range(2 if baseline == "other" else 1)
    ]
    losses = [loss for loss, _ in draws]  # each: (tokens,)
    if baseline == "other":
        compared = losses[::-1]
    elif baseline == "mean":
        compared = [losses[0].mean()]
    else:
        compared = [torch.zeros_like(losses[0])]
    total = 0.0
    for (loss, log_p), b in zip(draws, compared, strict=True):
        surrogate = (loss - b).detach() * log_p
        total = total + (loss + surrogate - surrogate.detach()).mean()
    return total / len(draws)


def _draw(
    decoder: nn.Module,
    states: Tensor,
    hidden: Tensor,
    weights: Tensor,
    batch: Batch,
) -> tuple[Tensor, Tensor]:
    """Draw a position for every real token: its loss, and log p(z)."""
    rows = weights.flatten(0, 1)  # rows: (batch * target_steps, source)
    picked = torch.multinomial(rows.detach(), 1).view(*weights.shape[:2], 1)
    # picked: (batch, target_steps, 1)
    index = picked.expand(-1, -1, states.shape[-1])
    context = states.gather(1, index)  # context: (batch, steps, value)
    vector = decoder.attentional(context, hidden)
    vector = decoder.projection(decoder.dropout(vector))
    logits = decoder.output(vector)
    mask = batch.target_mask
    loss = nn.functional.cross_entropy(
        logits[mask], batch.target_out[mask], reduction="none"
    )
    chosen = weights.gather(2, picked)[..., 0]  # chosen: (batch, steps)
    return loss, chosen[mask].clamp(min=1e-20).log()
