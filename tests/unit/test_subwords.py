"""Pieces of words: both ways, what is unknown, what is refused."""

import json
import pickle
import unicodedata
from collections import Counter
from dataclasses import replace
from itertools import chain
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers

from s2s_lib import evaluation, subwords
from s2s_lib.catalogue import Recipe
from s2s_lib.corpora import generated
from s2s_lib.models import Trained, build, load, save
from s2s_lib.recurrent import RecurrentConfig
from s2s_lib.storage import CheckpointError
from s2s_lib.subwords import WORD_START, SubwordVocabulary
from s2s_lib.training import TrainingConfig, fit
from s2s_lib.vocab import EOS, PAD, SOS, SPECIALS, UNK, Vocabulary

SENTENCES = [
    ["the", "cat", "sees", "the", "cats"],
    ["le", "chat", "voit", "les", "chats"],
    ["the", "dog", "sees", "the", "dogs"],
    ["l'", "été", "passé"],
]
LETTERS = sorted(set("".join(map("".join, SENTENCES))))
SMALLEST = len(SPECIALS) + 1 + len(LETTERS)  # with the mark
VOCAB = SubwordVocabulary.build(SENTENCES, SMALLEST + 12)
ANY_WORD = st.text(min_size=1, max_size=8)


def test_pieces_by_hand():
    # "aa" comes 3 times in the words, "▁b" twice, and "▁aa" ties with "▁b".
    vocab = SubwordVocabulary.build(
        [["aab", "aa"], ["b", "b", "aa"]], 4 + 3 + 2
    )
    assert vocab.pieces(["aab", "b", "aaa"]) == [
        ["▁aa", "b"],
        ["▁", "b"],
        ["▁aa", "a"],
    ]
    assert vocab.encode(["b", "aa"]) == [6, 5, 8]
    assert vocab.encode(["<unk>"])[1] == UNK
    assert len(vocab) == 9 and repr(vocab) == "SubwordVocabulary(9 ids)"


def test_the_first_ids_are_those_of_every_vocabulary():
    for i, special in enumerate(SPECIALS):
        assert VOCAB._pieces[i] == special
    assert VOCAB.encode(["zz"])[-1] == Vocabulary([]).encode(["zz"])[0] == UNK


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(LETTERS, min_size=1, max_size=8), max_size=6))
def test_words_of_known_characters_come_back(words):
    ids = VOCAB.encode(words)
    assert VOCAB.decode(ids) == words
    assert UNK not in ids
    pieces = VOCAB.pieces(words)
    assert ["".join(word) for word in pieces] == [
        WORD_START + w for w in words
    ]
    assert sum(map(len, pieces)) == len(ids)
    assert max(ids, default=0) < len(VOCAB)


@settings(max_examples=50, deadline=None)
@given(st.lists(ANY_WORD, min_size=1, max_size=5))
def test_a_vocabulary_of_any_words_spells_them(words):
    letters = {c for word in words for c in word.replace(WORD_START, "_")}
    size = len(SPECIALS) + len(letters) + 1 + 10
    vocab = SubwordVocabulary.build([words], size)
    back = vocab.decode(vocab.encode(words))
    assert back == [word.replace(WORD_START, "_") for word in words]
    assert vocab == SubwordVocabulary.from_json(vocab.to_json())


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_WORD, max_size=5))
def test_any_text_can_be_read(words):
    """Emoji, control characters, mixed scripts: one list of ids each."""
    ids = VOCAB.encode(words)
    assert all(0 <= i < len(VOCAB) for i in ids)
    assert PAD not in ids and SOS not in ids and EOS not in ids
    assert len(VOCAB.decode(ids)) == len(words)
    known = all(c in LETTERS for w in words for c in w)
    assert known == (UNK not in ids)


# By chance: BPE-dropout


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_WORD, max_size=5), st.floats(0, 1), st.integers())
def test_any_spelling_is_of_the_same_words(words, dropout, seed):
    usual = VOCAB.encode(words)
    assert VOCAB.encode_anew(words, 0.0, Random(seed)) == usual
    ids = VOCAB.encode_anew(words, dropout, Random(seed))
    assert VOCAB.decode(ids) == VOCAB.decode(usual)
    assert ids == VOCAB.encode_anew(words, dropout, Random(seed))
    letters = VOCAB.encode_anew(words, 1.0, Random(seed))
    assert len(letters) >= len(ids)
    assert all(i == UNK or len(VOCAB.piece(i)) == 1 for i in letters)


def test_spellings_come_as_often_as_the_chance_says():
    """Two merges: b c (comes 4 times), then a b (3 times)."""
    words = [["wbc"], ["xbc"], ["ybc"], ["zbc"], ["wab"], ["xab"], ["yab"]]
    vocab = SubwordVocabulary.build(words, len(SPECIALS) + 8 + 2)
    assert vocab.pieces(["bc", "ab"]) == [["▁", "bc"], ["▁", "ab"]]
    draw, times = Random(0), 4000
    # With p = 1/4 left out. In "abc" the first merge is made if its place is
    # kept (3/4), else the second if that is kept; then nothing is possible.
    # "bcbc" has one merge at two places: each round keeps some of them.
    wanted = {
        "a bc": 3 / 4,
        "ab c": 1 / 4 * 3 / 4,
        "a b c": 1 / 4 * 1 / 4,
        "bc bc": (3 / 4 + 1 / 4 * 3 / 4) * 3 / 4,
        "bc b c": 3 / 4 * 1 / 4,
        "b c bc": 1 / 4 * 3 / 4 * 1 / 4,
        "b c b c": 1 / 4 * 1 / 4,
    }
    found = Counter(
        " ".join(map(vocab.piece, vocab.encode_anew([word], 0.25, draw)[1:]))
        for word in ("abc", "bcbc")
        for _ in range(times)
    )
    assert found.keys() == wanted.keys()
    for spelled, share in wanted.items():
        assert abs(found[spelled] / times - share) < 0.03, spelled


def test_what_cannot_be_spelled_by_chance_is_said():
    with pytest.raises(TypeError):
        VOCAB.encode_anew("the cat", 0.1, Random(0))
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="dropout must be from 0 to 1"):
            VOCAB.encode_anew(["the"], share, Random(0))


@pytest.mark.parametrize(
    "word",
    [
        "🙂🙂🙂",
        "👩‍👩‍👧",
        "日本語",
        "\x00\x07",
        "Ω",
        "\u0301",
        "\ud7ff",
        "\u200b",
    ],
)
def test_unknown_characters_in_a_row_are_one_unknown(word):
    assert VOCAB.pieces([f"c{word}t"]) == [["▁c", "<unk>", "t"]]
    assert VOCAB.decode(VOCAB.encode(["le", word, "chat"])) == [
        "le",
        "<unk>",
        "chat",
    ]


def test_half_a_surrogate_pair_is_an_unknown_character():
    """As standard input may give it for a byte that is no UTF-8."""
    vocab = SubwordVocabulary.build([["a\udcffb"], ["\ufeffa", "😀"]], 40)
    assert vocab.decode(vocab.encode(["b\ud800a"])) == ["b\ufffda"]
    assert vocab.decode(vocab.encode(["\ufeffa", "😀"])) == ["\ufeffa", "😀"]


def test_characters_of_training_are_known_whatever_they_are():
    strange = [["🙂", "日本", "a\x07b", "\u200b", "Ωmega"]]
    vocab = SubwordVocabulary.build(strange, 40)
    assert vocab.decode(vocab.encode(strange[0])) == strange[0]


def test_the_mark_in_a_word_is_no_start_of_a_word():
    assert VOCAB.decode(VOCAB.encode([f"le{WORD_START}chat"])) == [
        "le<unk>chat"
    ]
    vocab = SubwordVocabulary.build([[f"a{WORD_START}b", "_"]], 20)
    assert vocab.decode(vocab.encode([f"b{WORD_START}a"])) == ["b_a"]
    assert vocab.encode([WORD_START]) == vocab.encode(["_"])


@pytest.mark.parametrize("special", SPECIALS)
def test_text_that_looks_like_a_special_token_is_spelled(special):
    letters = [list(special), ["b"]]
    vocab = SubwordVocabulary.build(letters, 40)
    ids = vocab.encode(["b", special, "b"])
    assert min(ids) >= len(SPECIALS)
    assert vocab.decode(ids) == ["b", special, "b"]
    # And in training it is text too.
    vocab = SubwordVocabulary.build([[special, "b"]] * 3, 40)
    assert min(vocab.encode([special])) >= len(SPECIALS)
    assert vocab.decode(vocab.encode([special])) == [special]


def test_composed_and_decomposed_accents_are_two_spellings():
    apart = unicodedata.normalize("NFD", "été")
    assert UNK not in VOCAB.encode(["été"])
    assert UNK in VOCAB.encode([apart])


def test_equal_data_gives_equal_vocabularies():
    again = SubwordVocabulary.build(iter(SENTENCES[::-1]), SMALLEST + 12)
    assert again == VOCAB and again.to_json() == VOCAB.to_json()
    other = SubwordVocabulary.build(SENTENCES, SMALLEST + 11)
    assert other != VOCAB and Vocabulary(["a"]) != VOCAB
    assert VOCAB.to_json() != VOCAB
    with pytest.raises(TypeError, match="unhashable"):
        hash(VOCAB)


def test_the_order_of_the_words_does_not_matter():
    words = [[w] for tokens in SENTENCES for w in tokens]
    assert SubwordVocabulary.build(reversed(words), SMALLEST + 12) == VOCAB


def test_small_data_has_fewer_merges():
    assert len(SubwordVocabulary.build([["ab"]], 1000)) == 4 + 3 + 2
    assert len(SubwordVocabulary.build([], 1000)) == 4


def test_characters_alone():
    vocab = SubwordVocabulary.build(SENTENCES, SMALLEST)
    assert len(vocab) == SMALLEST
    assert vocab.pieces(["chat"]) == [[WORD_START, *"chat"]]


def test_a_size_without_room_for_the_characters_is_refused():
    for size in (0, SMALLEST - 1):
        with pytest.raises(ValueError, match=f"of {size} ids is too small"):
            SubwordVocabulary.build(SENTENCES, size)


def test_a_string_is_refused_instead_of_tokens():
    for call in (VOCAB.encode, VOCAB.pieces):
        with pytest.raises(TypeError, match="list of tokens"):
            call("the cat")
    with pytest.raises(TypeError, match="list of tokens"):
        SubwordVocabulary.build(["the cat"], 100)


def test_decode_stops_at_the_end_and_drops_padding():
    cat, dog = VOCAB.encode(["cat"]), VOCAB.encode(["dog"])
    assert VOCAB.decode([SOS, *cat, PAD, EOS, *dog]) == ["cat"]
    assert VOCAB.decode([*cat, *dog]) == ["cat", "dog"]
    assert VOCAB.decode([]) == VOCAB.decode([EOS]) == []


def test_decode_of_what_a_model_may_write():
    """A word that does not begin with the mark, and a mark alone."""
    mark, c = VOCAB._pieces.index(WORD_START), VOCAB._pieces.index("c")
    assert VOCAB.decode([c, mark, c]) == ["c", "c"]
    assert VOCAB.decode([mark, mark, c, mark]) == ["c"]
    assert VOCAB.decode([UNK, UNK]) == ["<unk><unk>"]


def test_an_empty_word_has_no_letters():
    assert VOCAB.decode(VOCAB.encode(["", "cat", ""])) == ["cat"]


@pytest.mark.parametrize("i", [-1, len(VOCAB)])
def test_an_id_outside_the_table_is_refused(i):
    with pytest.raises(ValueError, match=f"id {i} is not in"):
        VOCAB.decode([5, i])


def test_from_json_gives_the_same_vocabulary():
    again = SubwordVocabulary.from_json(VOCAB.to_json())
    assert again == VOCAB
    for sentence in SENTENCES:
        assert again.encode(sentence) == VOCAB.encode(sentence)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"a"', "null", "7"])
def test_from_json_of_rubbish(text):
    with pytest.raises(ValueError):
        SubwordVocabulary.from_json(text)


def trained_tokenizer(model, trainer):
    tokenizer = Tokenizer(model)
    tokenizer.train_from_iterator([["the", "cat"]], trainer)
    return tokenizer


SPECIAL = list(SPECIALS)
OTHERS = {
    "words": trained_tokenizer(
        models.WordLevel(unk_token="<unk>"),
        trainers.WordLevelTrainer(special_tokens=SPECIAL),
    ),
    "pieces of another kind": trained_tokenizer(
        models.WordPiece(unk_token="<unk>"),
        trainers.WordPieceTrainer(
            vocab_size=40, special_tokens=SPECIAL, show_progress=False
        ),
    ),
    "ids in another order": trained_tokenizer(
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(
            vocab_size=40, special_tokens=SPECIAL[::-1], show_progress=False
        ),
    ),
    "nothing special": trained_tokenizer(
        models.BPE(), trainers.BpeTrainer(vocab_size=40, show_progress=False)
    ),
    "no unknown": trained_tokenizer(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=40, special_tokens=SPECIAL, show_progress=False
        ),
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_kind_of_tokenizer_is_refused(kind):
    with pytest.raises(ValueError, match="a subword vocabulary needs"):
        SubwordVocabulary(OTHERS[kind])
    with pytest.raises(ValueError, match="a subword vocabulary needs"):
        SubwordVocabulary.from_json(OTHERS[kind].to_str())


def test_spellings_are_remembered_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(subwords, "REMEMBERED", 3)
    vocab = SubwordVocabulary.build(SENTENCES, SMALLEST + 12)
    for word in ("cat", "dog", "chat", "chats", "cat"):
        assert vocab.encode([word]) == VOCAB.encode([word])
    info = vocab._spell.cache_info()
    assert info.maxsize == info.currsize == 3


def test_remembering_is_per_vocabulary():
    small = SubwordVocabulary.build(SENTENCES, SMALLEST)
    assert len(small.encode(["the"])) == 4 > len(VOCAB.encode(["the"]))
    assert len(VOCAB.encode(["the"])) < len(small.encode(["the"]))


# In a model: one small model of pieces on the generated corpus.

CORPUS = replace(
    generated(num_train=60, num_valid=5, num_test=10), name="generated"
)
RECIPE = Recipe(
    RecurrentConfig(
        attention="dot", query="after", embedding_size=8, hidden_size=8
    ),
    TrainingConfig(steps=2, batch_size=8),
    subwords=120,
)


@pytest.fixture
def trained():
    model = build(RECIPE, CORPUS, seed=0)
    model.model.eval()
    return model


def test_a_recipe_has_one_table_for_both_sides(trained):
    assert trained.source_vocab is trained.target_vocab
    assert len(trained.source_vocab) == RECIPE.subwords
    texts = [p.source for p in CORPUS.train] + [p.target for p in CORPUS.train]
    assert trained.source_vocab == SubwordVocabulary.build(texts, 120)


def test_stopped_and_resumed_with_words_spelled_anew(tmp_path):
    recipe = replace(RECIPE, subword_dropout=0.2)
    config = replace(recipe.training, steps=20, evaluate_every=10)

    def run(name, stops):
        for stop in stops:
            trained = build(recipe, CORPUS, seed=0 if stop == stops[0] else 9)
            fit(
                trained.model,
                trained.updates(CORPUS.train),
                config,
                checkpoint=tmp_path / name,
                progress=False,
                stop_after=stop,
            )
        return trained.model.state_dict()

    whole, parts = run("whole", [None]), run("parts", [5, 8, 13, None])
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    trained = build(RECIPE, CORPUS, seed=0)  # as it is spelled always
    fit(trained.model, trained.updates(CORPUS.train), config, progress=False)
    usual = trained.model.state_dict()
    assert not all(torch.equal(whole[name], usual[name]) for name in whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"subword_dropout": -0.5},
            "subword_dropout must be from 0 to 1, not -0.5",
        ),
        ({"subwords": 0}, "needs a vocabulary of subwords"),
        ({"bug": "no_end"}, "is not made with subword_dropout"),
    ],
)
def test_a_recipe_that_cannot_be_spelled_is_refused(settings, message):
    settings = {"subword_dropout": 0.1} | settings
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, **settings)


def test_translations_are_words(trained):
    outputs = trained.translate([p.source for p in CORPUS.test])
    assert len(outputs) == len(CORPUS.test)
    assert not any(WORD_START in word for words in outputs for word in words)


def test_save_and_load(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, trained)
    again = load(path)
    assert again.source_vocab == trained.source_vocab
    assert again.recipe == RECIPE
    sources = [p.source for p in CORPUS.test]
    assert again.translate(sources) == trained.translate(sources)
    fresh = build(RECIPE, CORPUS, seed=1)
    load(path, fresh)
    assert fresh.translate(sources) == trained.translate(sources)
    other = build(replace(RECIPE, subwords=110), CORPUS, seed=0)
    with pytest.raises(CheckpointError, match="other vocabularies"):
        load(path, other)


def test_weights_of_pieces_become_weights_of_words():
    # Source words of 2, 1 pieces and <eos>; target words of 1, 2 pieces.
    grid = np.array([[0.1, 0.2, 0.3, 0.4], [0, 1, 0, 0], [0.5, 0, 0.5, 0]])
    folded = evaluation._by_word(grid, [1, 2], [2, 1, 1])
    assert np.allclose(folded, [[0.3, 0.3, 0.4], [0.75, 0.25, 0]])


def test_forced_weights_have_a_row_per_word(trained):
    grids = evaluation.forced_weights(trained, CORPUS.test)
    pieces = evaluation._forced(trained, CORPUS.test).weights
    for grid, pair, raw in zip(grids, CORPUS.test, pieces, strict=True):
        assert grid.shape == (len(pair.target), len(pair.source) + 1)
        assert np.allclose(grid.sum(1), 1, atol=1e-5)
        first = len(trained.target_vocab.pieces(pair.target)[0])
        assert np.allclose(grid[0, -1], raw[:first, -1].mean(), atol=1e-6)


def test_folding_follows_a_reversed_source():
    recipe = replace(RECIPE, reverse_source=True)
    trained = build(recipe, CORPUS, seed=0)
    for grid, pair in zip(
        evaluation.forced_weights(trained, CORPUS.test),
        CORPUS.test,
        strict=True,
    ):
        assert grid.shape == (len(pair.target), len(pair.source) + 1)
        assert np.allclose(grid.sum(1), 1, atol=1e-5)


def test_a_model_that_looks_at_the_right_pieces_aligns_its_words(
    trained, monkeypatch
):
    """All weight on the pieces of the linked words: no alignment error."""

    def perfect(trained: Trained, pairs, batch_size=128):
        grids = []
        for pair in pairs:
            sources = [*map(len, trained.source_vocab.pieces(pair.source)), 1]
            starts = np.cumsum([0, *sources])
            rows = []
            pieces = trained.target_vocab.pieces(pair.target)
            for j, word in enumerate(pieces):
                row = torch.zeros(sum(sources))
                linked = [i for i, k in pair.sure if k == j]
                where = linked or [len(pair.source)]
                for i in where:
                    row[starts[i] : starts[i + 1]] = 1
                # The last piece of a linked word carries it.
                rows += [row / row.sum()] * len(word)
            grids.append(torch.stack(rows))
        return evaluation.Forced(0.0, 1, [], grids)

    monkeypatch.setattr(evaluation, "_forced", perfect)
    found = evaluation.evaluate_alignment(trained, CORPUS.test)
    assert found["precision"] == 1 and found["error_rate"] < 0.2


def test_evaluate_counts_words_and_pieces(trained):
    result = evaluation.evaluate(trained, CORPUS.test)
    assert result["alignment"]["error_rate"] > 0
    example = result["example"]
    assert len(example["weights"]) == len(example["target"])
    assert len(example["weights"][0]) == len(example["source"])
    # Positions are those of pieces, of which there are more than words.
    pieces = [trained.target_vocab.encode(p.target) for p in CORPUS.test]
    for shares in result["accuracy_by_position"].values():
        assert len(shares) == -(-max(map(len, pieces)) // 5)
    assert max(map(len, pieces)) > max(len(p.target) for p in CORPUS.test)
    json.dumps(result)


def test_right_pieces_count_as_right(trained, monkeypatch):
    # A piece at the start of a word has a mark, and the mark alone is one.
    ids = [
        torch.tensor(trained.target_vocab.encode(pair.target))
        for pair in CORPUS.test
    ]
    real = evaluation._forced

    def perfect(*arguments):
        return real(*arguments)._replace(predictions=ids)

    monkeypatch.setattr(evaluation, "_forced", perfect)
    found = evaluation.evaluate(trained, CORPUS.test)["accuracy_by_position"]
    assert set(found["teacher_forced"]) == {1.0}
    pieces = trained.target_vocab.pieces(CORPUS.test[0].target)
    (first,) = evaluation.forced_predictions(trained, CORPUS.test[:1])[:1]
    assert first == [*chain(*pieces)]


def test_the_piece_of_an_id():
    vocabulary = SubwordVocabulary.build([["aa", "ab"]], 8)
    pieces = [vocabulary.piece(i) for i in range(len(vocabulary))]
    assert pieces[:4] == list(SPECIALS)
    assert [pieces[i] for i in vocabulary.encode(["aa", "ab"])] == [
        *chain(*vocabulary.pieces(["aa", "ab"]))
    ]
    with pytest.raises(ValueError, match="is not in this vocabulary"):
        vocabulary.piece(len(vocabulary))


def test_it_can_be_pickled():
    """As a process that is started with it needs."""
    vocabulary = SubwordVocabulary.build([["abc", "abd"]], 12)
    again = pickle.loads(pickle.dumps(vocabulary))
    assert again == vocabulary
    assert again.encode(["abc", "x"]) == vocabulary.encode(["abc", "x"])
