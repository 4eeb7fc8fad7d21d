"""Tokens and their integer ids.

A model computes with integers; a reader thinks in words. This module holds
both directions: `tokenize` and `detokenize` between text and tokens,
`Vocabulary` between tokens and ids. Ids 0 to 3 are the same in every
vocabulary of the book: padding, start, end and unknown.
"""

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

PAD, SOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<sos>", "<eos>", "<unk>")

# One kind of apostrophe, and no hyphen that is only a place to break a line.
_CHANGED = str.maketrans({"’": "'", "ʼ": "'", "\u00ad": None})
# Without a width, within words: joiners, and marks of direction.
_JOINERS = "\u200c\u200d\u200e\u200f\u2060"
# What changes the symbol before it: its tone; tags, for the flags of regions.
_CHANGERS = "\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"
_FLAG = "[\U0001f1e6-\U0001f1ff]"  # two of these are the flag of a country


def _pattern(letter: str, symbol: str) -> re.Pattern[str]:
    """In this order: a number with its separators (3rd is a word); the
    English endings 's, 't, 're ... after a word; an elided French word with
    its apostrophe (l', qu'); a word with its hyphens; any other visible
    character."""
    return re.compile(
        rf"\d+(?:[.,]\d+)*(?!{letter})"
        rf"|(?<={letter})'(?:s|t|m|re|ve|ll|d)\b"
        r"|\baujourd'hui\b"
        r"|\b(?:[ldjmnstc]|qu|jusqu|lorsqu|puisqu|quelqu|presqu)'"
        rf"(?={letter})"
        rf"|{letter}+(?:-{letter}+)*"
        rf"|{symbol}",
        re.IGNORECASE,
    )


_TOKEN = _pattern(r"\w", r"[^\w\s]")
_RARE = re.compile(r"[^\w\s\x00-\x7f]")
_CHANGING = re.compile(rf"[{_CHANGERS}]|{_FLAG}")


@cache
def _marked_token() -> re.Pattern[str]:
    """As `_TOKEN`, for text with marks: Python counts vowel signs, as in
    हिन्दी, and free accents to no word. They belong to the letter before."""
    marks = "".join(filter(_is_mark, map(chr, range(sys.maxunicode + 1))))
    # An opening bracket takes none: the word behind it is joined to it.
    tail = rf"(?:[{marks}{_CHANGERS}]|\u200d[^\w\s])*"
    symbol = rf"{_FLAG}{{2}}|[(\[{{]|[^\w\s]{tail}"
    return _pattern(rf"[\w{marks}{_JOINERS}]", symbol)


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter).startswith("M")


def _has_marks(text: str) -> bool:
    return any(
        c in _JOINERS or _CHANGING.match(c) or _is_mark(c)
        for c in _RARE.findall(text)
    )


_NO_SPACE_BEFORE = re.compile(r" ([.,;:!?)\]}])")
_NO_SPACE_AFTER = re.compile(r"([(\[{]) ")


def tokenize(text: str, lowercase: bool = True) -> list[str]:
    """Split a sentence into words and punctuation marks.

    Elided French words keep their apostrophe (`l'`, `qu'`) and English
    endings keep theirs (`'s`, `'re`), so that `detokenize` knows on which
    side a token is joined. Typographic apostrophes become `'`, and hyphens
    that only mark where a line may break are left out. A script
    without spaces, such as Chinese, has to be segmented before.

    >>> tokenize("L'homme voit the man's dog.")
    ["l'", 'homme', 'voit', 'the', 'man', "'s", 'dog', '.']
    """
    text = text.translate(_CHANGED)
    text = text.lower() if lowercase else text
    pattern = _marked_token() if _has_marks(text) else _TOKEN
    return pattern.findall(text)


def detokenize(tokens: Sequence[str]) -> str:
    """Join tokens into text; the inverse of `tokenize` up to spacing.

    A token that ends in an apostrophe is joined to its right neighbour, one
    that starts with an apostrophe to its left, and closing punctuation to
    the word before it.

    >>> detokenize(["l'", "homme", "dort", "."])
    "l'homme dort."
    """
    pieces = []
    for position, token in enumerate(tokens):
        before = tokens[position - 1] if position else ""
        joins_left = token.startswith("'") and len(token) > 1
        joins_right = before.endswith("'") and len(before) > 1
        if position and not (joins_left or joins_right):
            pieces.append(" ")
        pieces.append(token)
    text = _NO_SPACE_BEFORE.sub(r"\1", "".join(pieces))
    return _NO_SPACE_AFTER.sub(r"\1", text)


def check_tokens(tokens: Sequence[str]) -> Sequence[str]:
    """The same tokens, unless they are a string.

    Raises:
        TypeError: a string is a sequence too, of letters: all would look
            well.
    """
    if isinstance(tokens, str):
        raise TypeError(
            f"a sentence must be a list of tokens, not the string "
            f"{tokens[:40]!r}; split it with tokenize"
        )
    return tokens


def check_id(i: int, size: int) -> int:
    """The same id, if a vocabulary of `size` ids has it.

    Raises:
        ValueError: if not.
    """
    if not 0 <= i < size:
        raise ValueError(
            f"id {i} is not in this vocabulary of {size} ids "
            f"(0 to {size - 1}); was it made with another one?"
        )
    return i


class Vocabulary:
    """A two-way table between tokens and ids.

    Build it from the training sentences only: a word that training has not
    seen has no trained embedding, and must become `<unk>` in a test as it
    will in use.

    Args:
        tokens: the tokens in id order, without the four special ones, which
            always take ids 0 to 3.

    Raises:
        ValueError: if a token is listed twice or is a special one.
    """

    def __init__(self, tokens: Sequence[str]):
        self._tokens = [*SPECIALS, *tokens]
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        if len(self._ids) != len(self._tokens):
            counts = Counter(self._tokens)
            twice = [token for token, n in counts.items() if n > 1]
            raise ValueError(
                f"a vocabulary needs each token once, but {twice[:5]} came "
                f"more than once (the special tokens {SPECIALS} are added "
                "by the vocabulary itself)"
            )

    @classmethod
    def build(
        cls,
        sentences: Iterable[Sequence[str]],
        min_count: int = 1,
        max_size: int | None = None,
    ) -> "Vocabulary":
        """Count the tokens of `sentences` and keep the frequent ones.

        Args:
            sentences: tokenised sentences of the training split.
            min_count: a rarer token is left out, and becomes `<unk>`.
            max_size: at most so many ids, the four special ones included.

        Ids are given by falling count, ties in alphabetical order, so equal
        data gives an equal table.

        Raises:
            TypeError: if a sentence is a string, not its tokens.
            ValueError: if `max_size` has no room for the special tokens.
        """
        if max_size is not None and max_size < len(SPECIALS):
            raise ValueError(
                f"max_size counts the {len(SPECIALS)} special tokens, so it "
                f"must be {len(SPECIALS)} or more, not {max_size}"
            )
        counts = Counter()
        for tokens in sentences:
            counts.update(check_tokens(tokens))
        for special in SPECIALS:
            counts.pop(special, None)
        kept = [token for token, n in counts.items() if n >= min_count]
        kept.sort(key=lambda token: (-counts[token], token))
        if max_size is not None:
            kept = kept[: max_size - len(SPECIALS)]
        return cls(kept)

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._tokens == other._tokens

    __hash__ = None

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} ids)"

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Ids of `tokens`; an unknown token becomes the id of `<unk>`.

        Raises:
            TypeError: if `tokens` is a string.
        """
        return [self._ids.get(t, UNK) for t in check_tokens(tokens)]

    def pieces(self, tokens: Sequence[str]) -> list[list[str]]:
        """Each token as the list of its pieces: here, itself alone.

        Raises:
            TypeError: if `tokens` is a string.
        """
        return [[token] for token in check_tokens(tokens)]

    def piece(self, i: int) -> str:
        """The token of one id, be it a special one.

        Raises:
            ValueError: if the id is outside the table.
        """
        return self._tokens[check_id(i, len(self))]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of `ids`, up to the first `<eos>`, without `<pad>`, `<sos>`.

        Raises:
            ValueError: if an id is outside the table.
        """
        tokens = []
        for i in ids:
            i = check_id(int(i), len(self))
            if i == EOS:
                break
            if i not in (PAD, SOS):
                tokens.append(self._tokens[i])
        return tokens

    def to_list(self) -> list[str]:
        """The tokens without the special ones: `Vocabulary(v.to_list())`."""
        return self._tokens[len(SPECIALS) :]
