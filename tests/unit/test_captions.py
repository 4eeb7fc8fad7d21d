"""Captions: what they say is what is painted, and links go to it."""

import re
from collections import Counter
from random import Random

import numpy as np
import pytest
import torch

from s2s_lib import captions, corpora
from s2s_lib.batches import collate, encode_pairs
from s2s_lib.captions import (
    COLOURS,
    GRID,
    PATCH,
    PIXELS,
    REGIONS,
    SHAPES,
    SIDE,
    SIZES,
    ImageEncoder,
    Shape,
    describe,
    generate,
    picture,
    pixels_of,
    pointing,
    region_mask,
    regions_of,
    word_classes,
)
from s2s_lib.corpora import CorpusError
from s2s_lib.vocab import Vocabulary, detokenize, tokenize

PLACES = {
    "at the top left": (0, 0),
    "at the top": (0, 1),
    "at the top right": (0, 2),
    "on the left": (1, 0),
    "in the middle": (1, 1),
    "on the right": (1, 2),
    "at the bottom left": (2, 0),
    "at the bottom": (2, 1),
    "at the bottom right": (2, 2),
}
LIEUX = dict(
    zip(
        (
            "en haut à gauche",
            "en haut",
            "en haut à droite",
            "à gauche",
            "au milieu",
            "à droite",
            "en bas à gauche",
            "en bas",
            "en bas à droite",
        ),
        PLACES.values(),
        strict=True,
    )
)
# Every phrase that is right, in both languages, written out here a second
# time: (size, colour, shape, place) -> what it must be.
ENGLISH = {
    (size, colour, shape, place): f"a {size} {colour} {shape} {words}"
    for size in ("small", "large")
    for colour in ("red", "green", "blue", "yellow", "black")
    for shape in ("square", "circle", "triangle", "cross")
    for words, place in PLACES.items()
}
MASCULINE = {"square": "carré", "circle": "cercle", "triangle": "triangle"}
FRENCH = {}
for _place, _words in zip(LIEUX.values(), LIEUX, strict=True):
    for _colour, _m, _f in (
        ("red", "rouge", "rouge"),
        ("green", "vert", "verte"),
        ("blue", "bleu", "bleue"),
        ("yellow", "jaune", "jaune"),
        ("black", "noir", "noire"),
    ):
        for _size, _petit, _petite in (
            ("small", "petit", "petite"),
            ("large", "grand", "grande"),
        ):
            for _shape, _noun in MASCULINE.items():
                FRENCH[_size, _colour, _shape, _place] = (
                    f"un {_petit} {_noun} {_m} {_words}"
                )
            FRENCH[_size, _colour, "cross", _place] = (
                f"une {_petite} croix {_f} {_words}"
            )


SHAPE = ("small", "red", "cross", 2, 2)


def scenes(count=60, seed=0):
    random = Random(seed)
    for number in range(count):
        scene = captions._scene(random, 1 + number % 4)
        yield scene, captions._paint(scene, random)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_caption_names_each_shape_once_in_reading_order(language):
    phrases, join = (ENGLISH, "and") if language == "en" else (FRENCH, "et")
    assert len(phrases) == len(set(phrases.values())) == 360
    for scene, pixels in scenes():
        pair = describe(scene, pixels, language)
        said = re.split(rf" , | {join} ", " ".join(pair.target))
        places = [(s.row // 8, s.column // 8) for s in scene]
        assert places == sorted(set(places))  # rows first, no place twice
        assert said == [
            phrases[s.size, s.colour, s.shape, place]
            for s, place in zip(scene, places, strict=True)
        ]
        # Commas between all but the last two, which the word joins.
        assert pair.target.count(join) == (len(scene) > 1)
        assert pair.target.count(",") == max(0, len(scene) - 2)
        text = detokenize(pair.target)
        assert tokenize(text) == list(pair.target)


def test_the_picture_shows_the_scene_and_a_little_noise():
    for scene, pixels in scenes():
        assert len(pixels) == PIXELS
        wanted = ["white"] * PIXELS
        covered = Counter()
        for shape in scene:
            for row, column in pixels_of(shape):
                assert 0 <= row < SIDE and 0 <= column < SIDE
                wanted[row * SIDE + column] = shape.colour
                covered[row, column] += 1
        assert set(covered.values()) == {1}  # no pixel of two shapes
        differs = sum(a != b for a, b in zip(wanted, pixels, strict=True))
        assert 0 < differs <= captions.NOISE


def test_shapes_differ_and_stand_apart():
    forms = {
        (size, shape): frozenset(pixels_of(Shape(size, "red", shape, 11, 11)))
        for size in SIZES
        for shape in SHAPES
    }
    assert len(set(forms.values())) == len(forms) == 8
    for (size, shape), form in forms.items():
        mirrored = {(row, 22 - column) for row, column in form}
        assert form == mirrored, (size, shape)
        rows = {row for row, _ in form}
        columns = {column for _, column in form}
        side = {"small": 5, "large": 9}[size]
        assert len(rows) == len(columns) == side
    for scene, _ in scenes():
        for i, a in enumerate(scene):
            for b in scene[:i]:
                gap = min(
                    max(abs(y - v), abs(x - u))
                    for y, x in pixels_of(a)
                    for v, u in pixels_of(b)
                )
                assert gap > 1


@pytest.mark.parametrize("language", ["en", "fr"])
def test_links_lead_to_the_pixels_of_the_named_shape(language):
    kinds = {"en": "function size colour shape", "fr": ""}[language].split()
    for scene, pixels in scenes():
        pair = describe(scene, pixels, language)
        assert pair.sure <= pair.possible
        starts = [0] + [
            j + 1 for j, w in enumerate(pair.target) if w in (",", "and", "et")
        ]
        ends = [*(start - 1 for start in starts[1:]), len(pair.target)]
        classes = word_classes(pair.target)
        assert len(classes) == len(pair.target)
        for shape, start, end in zip(scene, starts, ends, strict=True):
            area = np.zeros((SIDE, SIDE), int)
            for row, column in pixels_of(shape):
                area[row, column] = 1
            counts = area.reshape(GRID, PATCH, GRID, PATCH).sum((1, 3))
            assert sorted(classes[start : start + 4]) == [
                "colour", "function", "shape", "size",
            ]  # fmt: skip
            if kinds:
                assert classes[start : start + 4] == kinds
            for j in range(start, end):
                maybe = region_mask(pair.possible, j)
                certain = region_mask(pair.sure, j)
                if classes[j] == "function":
                    assert not maybe.any()
                    continue
                np.testing.assert_array_equal(maybe, counts > 0)
                if classes[j] == "place":
                    assert not certain.any()
                else:
                    assert certain.any()
                    np.testing.assert_array_equal(certain, counts >= 4)


def test_every_shape_has_a_sure_region_wherever_it_stands():
    for size in SIZES:
        for shape in SHAPES:
            for row in range(4, 8):
                for column in range(4, 8):
                    counts = regions_of(Shape(size, "red", shape, row, column))
                    assert max(counts.values()) >= captions.SURE


def test_regions_are_counted_row_by_row():
    shape = Shape("small", "red", "square", 2, 14)  # rows 0-4, columns 12-16
    assert regions_of(shape) == {3: 16, 4: 4, 9: 4, 10: 1}


def test_word_classes():
    words = ("a", "large", "red", "cross", "at", "the", "top", "left")
    assert word_classes(words) == [
        "function", "size", "colour", "shape",
        "function", "function", "place", "place",
    ]  # fmt: skip
    words = ("une", "petite", "croix", "bleue", "au", "milieu")
    assert word_classes(words) == [
        "function", "size", "shape", "colour", "function", "place",
    ]  # fmt: skip
    assert word_classes(["<unk>"]) == ["unknown"]
    assert captions.num_shapes(["un", "carré", "et", "une", "croix"]) == 2


def test_generation_is_deterministic_and_balanced():
    pairs = generate(20, seed=3)
    assert pairs == generate(20, seed=3)
    assert pairs != generate(20, seed=4)
    assert [captions.num_shapes(p.target) for p in pairs] == [1, 2, 3, 4] * 5
    french = generate(20, seed=3, language="fr")
    assert [p.source for p in french] == [p.source for p in pairs]
    assert {token for p in pairs for token in p.source} <= set(
        captions.PALETTE
    )
    assert set(COLOURS) == set(captions.PALETTE) - {"white"}


def test_generation_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"\('en', 'fr'\), not in 'de'"):
        generate(1, language="de")
    every = set(ENGLISH.values())
    taken = {tuple(phrase.split()) for phrase in every}
    assert generate(0) == []
    with pytest.raises(ValueError, match="num_pairs is -3: expected 0"):
        generate(-3)
    with pytest.raises(ValueError, match="0 of 1 pictures found"):
        generate(1, exclude=taken)


def test_the_corpus_splits_by_caption():
    corpus = corpora.captioned("image-en", 120, 40, 80)
    assert corpus.name == "captions"
    assert (corpus.source_language, corpus.target_language) == ("image", "en")
    splits = corpus.train, corpus.valid, corpus.test
    assert [len(split) for split in splits] == [120, 40, 80]
    captions_of = [{pair.target for pair in split} for split in splits]
    assert sum(map(len, captions_of)) == len(set().union(*captions_of))
    again = corpora.load("captions", "image-en", num_train=40, num_valid=40,
                         num_test=80)  # fmt: skip
    assert again.test == corpus.test and again.valid == corpus.valid
    assert again.fingerprint() != corpus.fingerprint()
    french = corpora.load("captions", "image-fr", num_train=120,
                          num_valid=40, num_test=80)  # fmt: skip
    assert [p.source for p in french.test] == [p.source for p in corpus.test]
    other = corpora.captioned("image-en", 120, 40, 80, seed=1)
    assert other.fingerprint() != corpus.fingerprint()


def test_the_corpus_refuses(monkeypatch):
    with pytest.raises(CorpusError, match=r"no pair 'image-de'.*image-en"):
        corpora.load("captions", "image-de")
    # One place for one kind of shape: one caption with a shape alone.
    monkeypatch.setattr(
        captions, "_scene", lambda random, num: (Shape(*SHAPE),) * num
    )
    with pytest.raises(CorpusError, match="captions corpus: only"):
        corpora.captioned(num_train=4, num_valid=4, num_test=24)


def test_a_picture_to_draw():
    pixels = ["white"] * PIXELS
    pixels[2 * SIDE + 5] = "red"
    image = picture(pixels)
    assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image[2, 5], captions.PALETTE["red"])
    odd = (image != captions.PALETTE["white"]).any(-1)
    assert odd.sum() == 1
    with pytest.raises(ValueError, match="575 pixels, of which 0"):
        picture(pixels[1:])
    with pytest.raises(ValueError, match=r"576 pixels, of which 1 .*'pink'"):
        picture(["pink", *pixels[1:]])


def test_pointing_counts_by_class():
    scene = (
        Shape("small", "red", "square", 2, 2),  # regions 0 1 6 7
        Shape("large", "blue", "circle", 19, 19),
    )
    pair = describe(scene, ["white"] * PIXELS)
    words = pair.target  # a small red square at the top left and a large ...
    grid = np.full((len(words), REGIONS), 0.01)
    grid[1, 0] = grid[2, 1] = grid[3, 35] = 0.5  # small, red; square misses
    found = pointing([grid], [pair])
    assert set(found) == {"size", "colour", "shape", "place"}
    assert found["colour"]["words"] == 2
    # red: right. blue: nowhere in particular, which argmax takes as 0.
    assert found["colour"]["on_shape"] == 0.5
    # Region 1 holds 4 of the square's pixels in its first column.
    assert regions_of(scene[0])[1] == 4 and found["colour"]["sure"] == 0.5
    assert found["shape"]["on_shape"] == 0.0
    red, blue = len(regions_of(scene[0])), len(regions_of(scene[1]))
    assert found["size"]["chance"] == pytest.approx((red + blue) / 2 / 36)
    assert found["size"]["any_shape"] == pytest.approx(0.5)
    mass = (0.5 + 0.01 * (red - 1) + 0.01 * blue) / 2
    assert found["size"]["mass"] == pytest.approx(mass)
    perfect = [
        np.array([[*map(float, region_mask(pair.possible, j).flat)]
                  for j in range(len(words))])
    ]  # fmt: skip
    for score in pointing(perfect, [pair]).values():
        assert score["on_shape"] == 1.0


def test_captions_with_other_pictures():
    pairs = generate(12, seed=2)
    for links in ("caption", "picture"):
        swapped = captions.with_other_pictures(pairs, links)
        for number, (pair, other) in enumerate(
            zip(pairs, swapped, strict=True)
        ):
            shown = pairs[(number + 4) % 12]
            assert other.source == shown.source != pair.source
            assert other.target == pair.target
            if links == "caption":
                assert (other.sure, other.possible) == (
                    pair.sure, pair.possible,
                )  # fmt: skip
                continue
            assert not other.sure
            union = region_mask(shown.possible, 1)
            for j in range(len(shown.target)):
                union |= region_mask(shown.possible, j)
            for j in range(len(pair.target)):
                wanted = union & region_mask(pair.possible, j).any()
                np.testing.assert_array_equal(
                    region_mask(other.possible, j), wanted
                )
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"^{count} pairs .* 5 or more"):
            captions.with_other_pictures(pairs[:count])
    with pytest.raises(ValueError, match=r"^links must be .* not 'both'"):
        captions.with_other_pictures(pairs, "both")


@pytest.fixture(scope="module")
def encoded():
    pairs = generate(6, seed=1)
    sides = [[p.source for p in pairs], [p.target for p in pairs]]
    vocabs = [Vocabulary.build(side) for side in sides]
    return collate(encode_pairs(pairs, *vocabs)), len(vocabs[0])


@pytest.fixture
def encoder(encoded):
    torch.manual_seed(0)
    return ImageEncoder(encoded[1], 24, dropout=0.5).eval()


def test_encoder_shapes(encoded, encoder):
    batch, _ = encoded
    states, summary = encoder(batch.source, batch.source_mask)
    assert states.shape == (6, REGIONS, encoder.state_size)
    assert summary.shape == (6, encoder.summary_size)
    mask = encoder.state_mask(batch.source_mask)
    assert mask.shape == (6, REGIONS) and mask.dtype == torch.bool
    assert bool(mask.all())
    encoder.train()
    other, _ = encoder(batch.source, batch.source_mask)
    assert bool((other == 0).float().mean() > 0.3)  # dropout


def test_encoder_treats_each_picture_alone(encoded, encoder):
    batch, _ = encoded
    together = encoder(batch.source, batch.source_mask)
    for row in range(len(batch.source)):
        alone = encoder(
            batch.source[row : row + 1], batch.source_mask[row : row + 1]
        )
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[row])


def test_a_state_sees_the_pixels_around_its_region(encoded, encoder):
    """Change one pixel: the states that notice lie around it."""
    batch, size = encoded
    row, column = 2, 14  # in region (0, 3)
    changed = batch.source.clone()
    where = row * SIDE + column
    changed[:, where] = 4 + (changed[:, where] - 3) % (size - 4)
    assert bool((changed != batch.source).any(1).all())
    before, summary = encoder(batch.source, batch.source_mask)
    after, other = encoder(changed, batch.source_mask)
    moved = ((before - after).abs().amax(-1) > 0).any(0).view(GRID, GRID)
    near = torch.zeros(GRID, GRID, dtype=torch.bool)
    near[:2, 2:5] = True  # region (0, 3) and its neighbours
    assert bool(moved[0, 3]) and not bool((moved & ~near).any())
    assert bool((summary != other).any())


def test_position_is_all_that_tells_equal_regions_apart(encoded, encoder):
    ids = torch.full((1, PIXELS + 1), 5)
    states, _ = encoder(ids, torch.ones_like(ids, dtype=torch.bool))
    plain = states[0] - encoder.position  # plain: (regions, hidden)
    torch.testing.assert_close(plain, plain[:1].expand_as(plain))
    assert len(torch.unique(states[0], dim=0)) == REGIONS


@pytest.mark.parametrize("pixels", [PIXELS - 1, PIXELS + 1, 5])
def test_encoder_refuses_another_number_of_pixels(encoded, encoder, pixels):
    ids = torch.full((2, max(pixels, PIXELS) + 1), 4)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, pixels + 1 :] = False
    mask[0, PIXELS + 1 :] = False
    message = f"row 1 of the source has {pixels} tokens.*has 576"
    with pytest.raises(ValueError, match=message):
        encoder(ids, mask)
