"""Pictures of coloured shapes with captions, and an encoder that reads them.

A picture is a sequence of palette colours, row by row, so that batches,
training, search and checkpoints need to know nothing new; only the encoder
differs. It answers with one state per region of the picture, and the words
of a caption know the regions of the shape that they speak of.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import product
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from s2s_lib.grammar import SentencePair
from s2s_lib.vocab import PAD

SIDE = 24  # pixels; a picture has as many rows as columns
PATCH = 4  # pixels on the side of a region
GRID = SIDE // PATCH  # regions on the side of a picture
PIXELS, REGIONS = SIDE * SIDE, GRID * GRID
CELL = SIDE // 3  # pixels on the side of a place, such as the top left
MAX_SHAPES = 4
NOISE = 8  # pixels of a picture that are recoloured at random
SURE = PATCH * PATCH // 4  # pixels that a shape has in a sure region

PALETTE = {
    "white": (250, 250, 246),
    "red": (205, 45, 45),
    "green": (45, 150, 70),
    "blue": (45, 90, 200),
    "yellow": (235, 195, 40),
    "black": (35, 35, 40),
}
BACKGROUND, *COLOURS = PALETTE
SIZES = {"small": 2, "large": 4}  # pixels from the centre to the edge
SHAPES = ("square", "circle", "triangle", "cross")
ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")

# French: masculine and feminine.
_FRENCH = {
    "a": ("un", "une"),
    "small": ("petit", "petite"),
    "large": ("grand", "grande"),
    "square": ("carré",),
    "circle": ("cercle",),
    "triangle": ("triangle",),
    "cross": ("croix",),
    "red": ("rouge", "rouge"),
    "green": ("vert", "verte"),
    "blue": ("bleu", "bleue"),
    "yellow": ("jaune", "jaune"),
    "black": ("noir", "noire"),
}
_FRENCH_PLACES = {"top": "en haut", "bottom": "en bas"} | {
    "left": "à gauche",
    "right": "à droite",
}


_FUNCTION = ("a", "at", "in", "on", "the", "and", ",")
_FUNCTION += ("un", "une", "en", "à", "au", "et")
_PLACE = ("top", "bottom", "left", "right", "middle")
_PLACE += ("haut", "bas", "gauche", "droite", "milieu")


def _classes() -> dict[str, str]:
    table = dict.fromkeys(_PLACE, "place")
    for kind, words in (
        ("size", SIZES),
        ("colour", COLOURS),
        ("shape", SHAPES),
    ):
        for word in words:
            table |= dict.fromkeys((word, *_FRENCH[word]), kind)
    return table | dict.fromkeys(_FUNCTION, "function")


WORD_CLASSES = _classes()


class Shape(NamedTuple):
    """One shape; `row` and `column` are those of its central pixel."""

    size: str
    colour: str
    shape: str
    row: int
    column: int

    @property
    def place(self) -> tuple[int, int]:
        """Which third of the picture the centre lies in: 0, 1, 2 each way."""
        return self.row // CELL, self.column // CELL


Scene = tuple[Shape, ...]


def pixels_of(shape: Shape) -> list[tuple[int, int]]:
    """The pixels (row, column) that a shape covers."""
    r = SIZES[shape.size]
    inside = {
        "square": lambda y, x: True,
        "circle": lambda y, x: y * y + x * x <= r * r + r,
        "triangle": lambda y, x: 2 * abs(x) <= y + r,
        "cross": lambda y, x: min(abs(y), abs(x)) <= r // 4,
    }[shape.shape]
    return [
        (shape.row + y, shape.column + x)
        for y, x in product(range(-r, r + 1), repeat=2)
        if inside(y, x)
    ]


def _scene(random: Random, num_shapes: int) -> Scene:
    """Shapes in reading order, each in a place of its own, none touching."""
    while True:
        shapes = []
        for place in sorted(random.sample(range(9), num_shapes)):
            size = random.choice(tuple(SIZES))
            # Two pixels from the border of its place, so that it is clear
            # which place it is in, and not over the edge of the picture.
            r = SIZES[size]
            centre = [
                random.randint(
                    max(CELL * third + 2, r),
                    min(CELL * third + CELL - 3, SIDE - 1 - r),
                )
                for third in divmod(place, 3)
            ]
            colour, name = random.choice(COLOURS), random.choice(SHAPES)
            shapes.append(Shape(size, colour, name, *centre))
        if not any(
            _touch(a, b) for i, a in enumerate(shapes) for b in shapes[:i]
        ):
            return tuple(shapes)


def _touch(a: Shape, b: Shape) -> bool:
    """True if the squares around two shapes leave no pixel between them."""
    reach = SIZES[a.size] + SIZES[b.size] + 1
    return max(abs(a.row - b.row), abs(a.column - b.column)) <= reach


def _paint(scene: Scene, random: Random) -> tuple[str, ...]:
    pixels = [BACKGROUND] * PIXELS
    for shape in scene:
        for row, column in pixels_of(shape):
            pixels[row * SIDE + column] = shape.colour
    for where in random.sample(range(PIXELS), NOISE):
        pixels[where] = random.choice(tuple(PALETTE))
    return tuple(pixels)


def _english(shape: Shape) -> list[str]:
    row, column = ROWS[shape.place[0]], COLUMNS[shape.place[1]]
    where = f"at the {row} {column}" if row else f"on the {column}"
    if shape.place == (1, 1):
        where = "in the middle"
    return f"a {shape.size} {shape.colour} {shape.shape} {where}".split()


def _french(shape: Shape) -> list[str]:
    noun, feminine = _FRENCH[shape.shape][-1], shape.shape == "cross"
    a, size, colour = (
        _FRENCH[word][feminine] for word in ("a", shape.size, shape.colour)
    )
    names = ROWS[shape.place[0]], COLUMNS[shape.place[1]]
    where = " ".join(_FRENCH_PLACES[name] for name in names if name)
    return f"{a} {size} {noun} {colour} {where or 'au milieu'}".split()


_PHRASES = {"en": (_english, "and"), "fr": (_french, "et")}
LANGUAGES = tuple(_PHRASES)


def regions_of(shape: Shape) -> dict[int, int]:
    """Region -> how many of its pixels the shape covers, where it is any.

    Regions are counted row by row from the top left, as pixels are.
    """
    counts: dict[int, int] = {}
    for row, column in pixels_of(shape):
        region = row // PATCH * GRID + column // PATCH
        counts[region] = counts.get(region, 0) + 1
    return counts


def describe(
    scene: Scene, pixels: Sequence[str], language: str = "en"
) -> SentencePair:
    """The pair of a picture and its caption, with gold links.

    The shapes come in reading order: by third of the picture from the top,
    then from the left. A word for size, colour or shape is linked to the
    regions of its shape: possible are all that the shape touches, sure those
    that it covers by a quarter or more. A word for the place has the
    possible links alone, other words have none.
    """
    phrase_of, join = _PHRASES[language]
    words: list[str] = []
    sure, possible = set(), set()
    for number, shape in enumerate(scene):
        if number:
            words.append(join if number == len(scene) - 1 else ",")
        for word in phrase_of(shape):
            kind, position = WORD_CLASSES[word], len(words)
            words.append(word)
            if kind == "function":
                continue
            for region, covered in regions_of(shape).items():
                possible.add((region, position))
                if kind != "place" and covered >= SURE:
                    sure.add((region, position))
    links = frozenset(sure), frozenset(possible)
    return SentencePair(tuple(pixels), tuple(words), *links)


def generate(
    num_pairs: int,
    seed: int = 0,
    language: str = "en",
    exclude: Collection[tuple[str, ...]] = (),
) -> list[SentencePair]:
    """Pictures of 1 to 4 shapes, equally many of each, with captions.

    Args:
        num_pairs: how many.
        seed: the same seed gives the same pictures in either language.
        language: of the captions, "en" or "fr".
        exclude: captions that must not come.

    Raises:
        ValueError: `num_pairs` below 0, unknown language, or `exclude`
            leaves too few captions.
    """
    if num_pairs < 0:
        raise ValueError(f"num_pairs is {num_pairs}: expected 0 or more")
    if language not in LANGUAGES:
        raise ValueError(
            f"captions are in one of {LANGUAGES}, not in {language!r}"
        )
    random, pairs, failures = Random(seed), [], 0
    while len(pairs) < num_pairs:
        scene = _scene(random, 1 + len(pairs) % MAX_SHAPES)
        pair = describe(scene, _paint(scene, random), language)
        if pair.target not in exclude:
            pairs.append(pair)
            failures = 0
        elif (failures := failures + 1) > 1000:
            raise ValueError(
                f"only {len(pairs)} of {num_pairs} pictures found: `exclude` "
                "holds nearly all captions of one shape; exclude fewer"
            )
    return pairs


def word_classes(caption: Sequence[str]) -> list[str]:
    """The class of each word, English or French.

    Returns:
        "size", "colour", "shape", "place", "function", or "unknown" for a
        word that no caption has.
    """
    return [WORD_CLASSES.get(word, "unknown") for word in caption]


def num_shapes(caption: Sequence[str]) -> int:
    """How many shapes a caption names."""
    return word_classes(caption).count("shape")


def picture(pixels: Sequence[str]) -> UInt8[np.ndarray, "height width 3"]:
    """The colours of a sequence of pixels, to be drawn by `imshow`.

    Raises:
        ValueError: if there are not `PIXELS` of them, all of the palette.
    """
    odd = [token for token in pixels if token not in PALETTE]
    if odd or len(pixels) != PIXELS:
        raise ValueError(
            f"{len(pixels)} pixels, of which {len(odd)} have no colour of "
            f"the palette {odd[:3]}; a picture is {SIDE} rows of {SIDE} "
            f"pixels, each one of {', '.join(PALETTE)}"
        )
    colours = np.array([PALETTE[token] for token in pixels], dtype=np.uint8)
    return colours.reshape(SIDE, SIDE, 3)


def region_mask(
    links: Collection[tuple[int, int]], position: int
) -> Bool[np.ndarray, "rows columns"]:
    """The grid of regions, True where a link leads to word `position`."""
    mask = np.zeros(REGIONS, dtype=bool)
    mask[[region for region, word in links if word == position]] = True
    return mask.reshape(GRID, GRID)


def with_other_pictures(
    pairs: Sequence[SentencePair], links: str = "caption"
) -> list[SentencePair]:
    """Each caption with the picture of another pair, as a control.

    The picture is that of the pair `MAX_SHAPES` further on, which has as
    many shapes where the pairs come from `generate`.

    Args:
        links: "caption" keeps the gold regions of the true picture;
            "picture" links each word that had links to every region that
            any shape of the picture shown touches (possible links alone).

    Raises:
        ValueError: unknown `links`, or `MAX_SHAPES` pairs or fewer.
    """
    if links not in ("caption", "picture"):
        raise ValueError(
            f'links must be "caption" or "picture", not {links!r}'
        )
    if len(pairs) <= MAX_SHAPES:
        raise ValueError(
            f"{len(pairs)} pairs are too few: each takes the picture of the "
            f"pair {MAX_SHAPES} further on; give {MAX_SHAPES + 1} or more"
        )
    swapped = []
    for number, pair in enumerate(pairs):
        other = pairs[(number + MAX_SHAPES) % len(pairs)]
        pair = replace(pair, source=other.source)
        if links == "picture":
            touched = {region for region, _ in other.possible}
            words = {word for _, word in pair.possible}
            shown = frozenset(product(touched, words))
            pair = replace(pair, sure=frozenset(), possible=shown)
        swapped.append(pair)
    return swapped


def pointing(
    grids: Sequence[np.ndarray], pairs: Sequence[SentencePair]
) -> dict[str, dict[str, float | int]]:
    """How often a word's largest weight lies on the shape it speaks of.

    Args:
        grids: per pair the weights (words, regions).
        pairs: the pairs, with their links.

    Returns:
        For each class of words that has links: `words`, how many;
        `on_shape`, the share whose largest weight lies in a region that the
        shape touches; `sure`, the same for regions that it covers well;
        `mass`, the mean weight on all touched regions; and what two guesses
        would reach for `on_shape`: `chance` takes any region, `any_shape`
        any of the regions that some shape of the picture touches.
    """
    rows: dict[str, list[tuple[float, ...]]] = {}
    for grid, pair in zip(grids, pairs, strict=True):
        touched = {region for region, _ in pair.possible}
        for position, kind in enumerate(word_classes(pair.target)):
            gold = {r for r, word in pair.possible if word == position}
            if not gold:
                continue
            best = int(np.argmax(grid[position]))
            rows.setdefault(kind, []).append(
                (
                    best in gold,
                    (best, position) in pair.sure,
                    float(grid[position][sorted(gold)].sum()),
                    len(gold) / REGIONS,
                    len(gold) / len(touched),
                )
            )
    names = "on_shape", "sure", "mass", "chance", "any_shape"
    return {
        kind: {"words": len(found)}
        | dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))
        for kind, found in sorted(rows.items())
    }


class ImageEncoder(nn.Module):
    """A small convolutional network: one state per region of the picture.

    Two convolutions of 2 x 2 pixels without overlap make one position of
    each region of 4 x 4 pixels; a third one, 3 x 3, lets a region see its
    neighbours, and so 12 x 12 pixels. A convolution computes the same
    everywhere and cannot say where it is: each region adds a learned
    position vector. (Padding with zeros would betray the edges of the
    picture; here the outermost regions are repeated.)

    The summary, C, holds a few numbers of every region, one region after the
    other, and so still knows what is where.

    Args:
        vocab_size: ids of the source vocabulary.
        hidden_size: size of a state.
        dropout: rate, on the states.
    """

    def __init__(self, vocab_size: int, hidden_size: int, dropout: float = 0):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 16, padding_idx=PAD)
        self.convolutions = nn.ModuleList(
            (
                nn.Conv2d(16, 32, 2, stride=2),
                nn.Conv2d(32, 64, 2, stride=2),
                nn.Conv2d(
                    64, hidden_size, 3, padding=1, padding_mode="replicate"
                ),
            )
        )
        for layer in self.convolutions:  # as `he2015` has it for ReLU
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.norm = nn.LayerNorm(hidden_size)
        self.position = nn.Parameter(torch.randn(REGIONS, hidden_size) / 10)
        self.dropout = nn.Dropout(dropout)
        self.shrink = nn.Linear(hidden_size, 8)
        self.state_size, self.summary_size = hidden_size, 8 * REGIONS

    def state_mask(
        self, mask: Bool[Tensor, "batch steps"]
    ) -> Bool[Tensor, "batch regions"]:
        """Which states are real: all, whatever the mask of the source."""
        return mask.new_ones(len(mask), REGIONS)

    def forward(
        self,
        source: Int[Tensor, "batch steps"],
        mask: Bool[Tensor, "batch steps"],
    ) -> tuple[
        Float[Tensor, "batch regions hidden"], Float[Tensor, "batch summary"]
    ]:
        """All states, region by region from the top left, and C.

        Raises:
            ValueError: if a row is not `PIXELS` ids and `<eos>`.
        """
        wrong = (mask.sum(1) != PIXELS + 1).nonzero()[:, 0]
        if len(wrong):
            found = int(mask[wrong[0]].sum()) - 1
            raise ValueError(
                f"row {int(wrong[0])} of the source has {found} tokens before "
                f"<eos>; a picture has {PIXELS} ({SIDE} rows of {SIDE} "
                'pixels): use the corpus "captions", or encoder="text"'
            )
        x = self.embedding(source[:, :PIXELS])  # x: (batch, pixels, 16)
        x = x.unflatten(1, (SIDE, SIDE)).movedim(-1, 1)
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
            # x: (batch, channels, rows, columns)
        states = self.norm(x.flatten(2).transpose(1, 2)) + self.position
        states = self.dropout(states)  # states: (batch, regions, hidden)
        return states, self.shrink(states).flatten(1)
