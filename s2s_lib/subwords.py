"""Words in pieces: byte-pair encoding (`sennrich2016bpe`).

A vocabulary of words cannot hold every word. One of pieces can spell every
word: frequent words are one piece, rare ones several. `SubwordVocabulary`
takes and gives words, as `vocab.Vocabulary` does, and has the same four
special ids, so that models, search and scores work with either. Learning and
applying the merges is done by the `tokenizers` library, but for BPE-dropout:
the chance in the library's own has no seed, and a training that was stopped
could not go on as it was.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from random import Random

from tokenizers import Tokenizer, models, trainers

from s2s_lib.vocab import (
    EOS,
    PAD,
    SOS,
    SPECIALS,
    UNK,
    Vocabulary,
    check_id,
    check_tokens,
)

# Every word starts with this mark, so that pieces say where words begin.
WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"
# Words whose pieces are remembered. More than any corpus of the book has;
# a limit, since the stream that is translated may have no end.
REMEMBERED = 2**16


class SubwordVocabulary:
    """A two-way table between words and the ids of their pieces.

    Each word is spelled with the mark `WORD_START` before its letters, and
    then neighbouring pieces are merged in the order in which the merges were
    learned. A character that training has not seen becomes `<unk>`, several
    in a row become one. A word that contains the mark itself gets `_` in its
    place, and U+FFFD in the place of half of a surrogate pair.

    Args:
        tokenizer: a trained byte-pair model with the special tokens of
            `vocab.SPECIALS` as ids 0 to 3; see `build` and `from_json`.

    Raises:
        ValueError: if it is another kind of tokenizer, or has other ids.
    """

    def __init__(self, tokenizer: Tokenizer):
        model = tokenizer.model
        found = tuple(map(tokenizer.id_to_token, range(len(SPECIALS))))
        if not isinstance(model, models.BPE) or found != SPECIALS:
            raise ValueError(
                "a subword vocabulary needs a byte-pair model whose first "
                f"ids are {SPECIALS}, not {type(model).__name__} with {found}"
            )
        if model.unk_token != "<unk>":
            raise ValueError(
                "a subword vocabulary needs <unk> for unknown characters, "
                f"and this one has {model.unk_token!r}"
            )
        self._tokenizer = tokenizer
        size = tokenizer.get_vocab_size()
        self._pieces = [tokenizer.id_to_token(i) for i in range(size)]
        self._characters = {
            piece: i for i, piece in enumerate(self._pieces) if len(piece) == 1
        }
        self._spell = lru_cache(REMEMBERED)(self._spell_word)

    def __reduce__(self):  # the cache is not to be pickled
        return SubwordVocabulary.from_json, (self.to_json(),)

    @classmethod
    def build(
        cls, sentences: Iterable[Sequence[str]], size: int
    ) -> "SubwordVocabulary":
        """Learn the merges from the tokens of `sentences`.

        Args:
            sentences: tokenised sentences of the training split; of both
                languages for a vocabulary that they share.
            size: ids in all: the special ones, the characters, and a merge
                each. Small data may have fewer merges to learn.

        Raises:
            TypeError: if a sentence is a string, not its tokens.
            ValueError: if `size` has no room for the characters, or is no
                size at all.
        """
        if not 0 <= size <= 10_000_000:
            raise ValueError(
                f"a subword vocabulary of {size} ids cannot be had; give some "
                "thousands, or 0 for words"
            )
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(SPECIALS), show_progress=False
        )
        words = (
            [_marked(word) for word in check_tokens(tokens)]
            for tokens in sentences
        )
        tokenizer.train_from_iterator(words, trainer)
        vocabulary = cls(tokenizer)
        if len(vocabulary) > size:
            raise ValueError(
                f"a subword vocabulary of {size} ids is too small: the "
                f"special tokens and the characters of these sentences are "
                f"{len(vocabulary)}"
            )
        return vocabulary

    def __len__(self) -> int:
        return len(self._pieces)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SubwordVocabulary)
            and self.to_json() == other.to_json()
        )

    __hash__ = None

    def __repr__(self) -> str:
        return f"SubwordVocabulary({len(self)} ids)"

    def _spell_word(self, word: str) -> tuple[int, ...]:
        # The model alone: the tokenizer would take the text "<eos>" for it.
        model = self._tokenizer.model
        return tuple([piece.id for piece in model.tokenize(_marked(word))])

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Ids of the pieces of these words.

        Raises:
            TypeError: if `tokens` is a string.
        """
        return [i for word in check_tokens(tokens) for i in self._spell(word)]

    def encode_anew(
        self, tokens: Sequence[str], dropout: float, random: Random
    ) -> list[int]:
        """Ids of the pieces of these words, spelled by chance.

        BPE-dropout (`provilkov2020`): before each merge, every place where
        one is possible is left out with probability `dropout`; of the rest
        the merge that was learned first is made, the leftmost of equal ones.
        A word is ready when all are left out, or none is possible. `decode`
        gives the same words. It takes about ten times as long as `encode`.

        Args:
            dropout: from 0, which is `encode`, to 1, which is characters.
            random: where the chance comes from.

        Raises:
            TypeError: if `tokens` is a string.
            ValueError: if `dropout` is out of range.
        """
        check_dropout(dropout)
        return [
            i
            for word in check_tokens(tokens)
            for i in self._spell_anew(word, dropout, random)
        ]

    @cached_property
    def _merges(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Of each pair of ids that merges: its rank, and what comes out."""
        model = json.loads(self.to_json())["model"]
        ids = model["vocab"]
        return {
            (ids[left], ids[right]): (rank, ids[left + right])
            for rank, (left, right) in enumerate(model["merges"])
        }

    def _spell_anew(
        self, word: str, dropout: float, random: Random
    ) -> list[int]:
        merges, chance = self._merges, random.random
        ids: list[int] = []
        for character in _marked(word):
            i = self._characters.get(character, UNK)
            if not (i == UNK and ids and ids[-1] == UNK):
                ids.append(i)
        while True:
            kept = [
                (*merges[pair], place)
                for place, pair in enumerate(pairwise(ids))
                if pair in merges and chance() >= dropout
            ]
            if not kept:
                return ids
            _, merged, place = min(kept)
            ids[place : place + 2] = [merged]

    def pieces(self, tokens: Sequence[str]) -> list[list[str]]:
        """The pieces of each word, as text; the first has the mark.

        Raises:
            TypeError: if `tokens` is a string.
        """
        return [
            [self._pieces[i] for i in self._spell(word)]
            for word in check_tokens(tokens)
        ]

    def piece(self, i: int) -> str:
        """The piece of one id, with its mark, or a special token.

        Raises:
            ValueError: if the id is outside the table.
        """
        return self._pieces[check_id(i, len(self))]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Words of `ids`, up to the first `<eos>`, without `<pad>`, `<sos>`.

        A word begins at each mark, and at the start.

        Raises:
            ValueError: if an id is outside the table.
        """
        words: list[str] = []
        for i in ids:
            i = check_id(int(i), len(self))
            if i == EOS:
                break
            if i in (PAD, SOS):
                continue
            piece = self._pieces[i]
            if piece.startswith(WORD_START):
                words.append(piece[len(WORD_START) :])
            elif words:
                words[-1] += piece
            else:
                words.append(piece)
        return [word for word in words if word]

    def to_json(self) -> str:
        """The merges and the ids: `SubwordVocabulary.from_json(text)`."""
        return self._tokenizer.to_str()

    @classmethod
    def from_json(cls, text: str) -> "SubwordVocabulary":
        """What `to_json` wrote.

        Raises:
            ValueError: if it is not a subword vocabulary.
        """
        json.loads(text)
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"not a subword vocabulary: {error}") from error
        return cls(tokenizer)


def check_dropout(share: float, name: str = "dropout") -> None:
    """Refuse what is no probability of leaving out a merge.

    Raises:
        ValueError: if it is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {share}")


def _marked(word: str) -> str:
    # Half of a surrogate pair is no text, and the library refuses it.
    text = word.encode("utf-16-le", "surrogatepass")
    text = text.decode("utf-16-le", "replace")
    return WORD_START + text.replace(WORD_START, "_")


# Either kind, where it does not matter which.
AnyVocabulary = Vocabulary | SubwordVocabulary
