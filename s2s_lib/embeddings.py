"""Tables with a vector for each word, and one table for three uses of it."""

import math

from jaxtyping import Float, Int
from torch import Tensor, nn


class ScaledEmbedding(nn.Embedding):
    """Small weights times a large factor, the root of a vector's size.

    The vectors are at first those of `nn.Embedding`, and learn faster, since
    an update of Adam is no smaller for small weights (`vaswani2017`).
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.scale = math.sqrt(self.embedding_dim)
        # Weights that were given stay as they are for the one who has them.
        self.weight.data = self.weight.detach() / self.scale

    def forward(
        self, tokens: Int[Tensor, "..."]
    ) -> Float[Tensor, "... embedding"]:
        return super().forward(tokens) * self.scale


def share_table(
    output: nn.Linear, source: nn.Embedding, target: nn.Embedding
) -> None:
    """Give both sides and the output layer one table (`press2017`).

    The output layer's weights are the words' vectors: a logit says how well
    a word's vector fits the one that the decoder made.

    Raises:
        ValueError: if there are not as many words on both sides.
    """
    if source.num_embeddings != target.num_embeddings:
        raise ValueError(
            "shared_embeddings needs one vocabulary for both sides, not "
            f"{source.num_embeddings} and {target.num_embeddings} ids"
        )
    source.weight = output.weight = target.weight
