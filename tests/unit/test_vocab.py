"""Tokens, text and ids: both ways, and what is refused."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2s_lib.vocab import (
    EOS,
    PAD,
    SOS,
    SPECIALS,
    UNK,
    Vocabulary,
    detokenize,
    tokenize,
)

WORDS = st.text("abcdé", min_size=1, max_size=3)
SENTENCES = st.lists(st.lists(WORDS, max_size=8), max_size=8)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("L'homme dort.", ["l'", "homme", "dort", "."]),
        ("The man's dog", ["the", "man", "'s", "dog"]),
        ("They're here!", ["they", "'re", "here", "!"]),
        ("Qu’est-ce ?", ["qu'", "est-ce", "?"]),
        ("aujourd'hui", ["aujourd'hui"]),
        ("1,000.5 chats, 3.", ["1,000.5", "chats", ",", "3", "."]),
        ("The 3rd 4x4", ["the", "3rd", "4x4"]),
        ("(un  chat)", ["(", "un", "chat", ")"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_tokenize_by_hand(text, tokens):
    assert tokenize(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("हिन्दी में .", ["हिन्दी", "में", "."]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("İstanbul", ["i̇stanbul"]),
        ("ọ̀rọ̀-ọ̀rọ̀", ["ọ̀rọ̀-ọ̀rọ̀"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("co\u00adop !", ["coop", "!"]),
        ("👨\u200d👩\u200d👧 ❤\ufe0f 👍🏽", None),
        ("🇫🇷 🇩🇪", None),
        ("🇫🇷🇩🇪", ["🇫🇷", "🇩🇪"]),
        ("🏴\U000e0067\U000e0062\U000e007f a\u200fb", None),
    ],
)
def test_marks_belong_to_the_letter_before(text, tokens):
    found = tokenize(text)
    assert found == (text.split() if tokens is None else tokens)
    assert tokenize(detokenize(found)) == found


def test_tokenize_keeps_case_on_request():
    assert tokenize("L'Homme", lowercase=False) == ["L'", "Homme"]


@pytest.mark.parametrize(
    "text",
    ["l'homme voit the man's dog.", "a (b) c, d: e; f! g?", "qu'il s'en va"],
)
def test_detokenize_gives_the_text_back(text):
    assert detokenize(tokenize(text)) == text


@settings(max_examples=200, deadline=None)
@given(st.text("aldqu'’s .,!()[]-1é\n", max_size=25) | st.text(max_size=15))
def test_tokens_survive_the_way_through_text(text):
    tokens = tokenize(text)
    assert tokenize(detokenize(tokens)) == tokens
    # Nothing but white space and soft hyphens is lost on the way.
    plain = text.lower().replace("’", "'").replace("ʼ", "'")
    assert "".join(tokens) == "".join(plain.replace("\u00ad", "").split())


def test_ids_fall_with_the_count_and_ties_are_alphabetical():
    vocab = Vocabulary.build([["b", "c", "d"], ["c", "b"], ["c"], ["a"]])
    assert vocab.to_list() == ["c", "b", "a", "d"]
    assert vocab.encode(["c", "b", "a", "d"]) == [4, 5, 6, 7]


@settings(max_examples=50, deadline=None)
@given(SENTENCES, st.integers(1, 3), st.none() | st.integers(4, 10))
def test_build_keeps_the_frequent_ones(sentences, min_count, max_size):
    counts = Counter(token for tokens in sentences for token in tokens)
    vocab = Vocabulary.build(iter(sentences), min_count, max_size)
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    ranked = [token for token in ranked if counts[token] >= min_count]
    assert vocab.to_list() == ranked[: max_size and max_size - 4]
    assert len(vocab) == 4 + len(vocab.to_list())
    assert vocab == Vocabulary.build(reversed(sentences), min_count, max_size)
    assert vocab == Vocabulary(vocab.to_list())
    for tokens in sentences:
        for token, i in zip(tokens, vocab.encode(tokens), strict=True):
            assert (token in vocab) == (i != UNK) == (token in vocab.to_list())
        known = [token for token in tokens if token in vocab]
        assert vocab.decode([SOS, *vocab.encode(known), EOS, PAD]) == known


def test_special_tokens_have_fixed_ids_whatever_the_text_says():
    assert (PAD, SOS, EOS, UNK) == (0, 1, 2, 3)
    vocab = Vocabulary.build([["<pad>", "<unk>", "<eos>", "<sos>", "x"]])
    assert vocab.to_list() == ["x"]
    assert vocab.encode(SPECIALS) == [0, 1, 2, 3]


def test_decode_stops_at_the_end_and_drops_what_is_no_word():
    vocab = Vocabulary(["a", "b"])
    assert vocab.decode([SOS, 4, PAD, UNK, 5, EOS, 4]) == ["a", "<unk>", "b"]
    assert vocab.decode([EOS]) == vocab.decode([]) == []


@pytest.mark.parametrize("i", [-1, 6, 99])
def test_decode_refuses_ids_of_another_vocabulary(i):
    with pytest.raises(ValueError, match=rf"id {i} .* 6 ids \(0 to 5\)"):
        Vocabulary(["a", "b"]).decode([4, i])


@pytest.mark.parametrize("tokens", [["a", "b", "a"], ["<pad>"]])
def test_a_token_twice_is_refused(tokens):
    with pytest.raises(ValueError, match=tokens[0]):
        Vocabulary(tokens)


def test_a_sentence_that_was_not_split_is_refused():
    with pytest.raises(TypeError, match="tokenize"):
        Vocabulary.build(["un chat dort"])
    with pytest.raises(TypeError, match="tokenize"):
        Vocabulary(["chat"]).encode("chat")


def test_a_size_below_the_special_tokens_is_refused():
    with pytest.raises(ValueError, match="max_size"):
        Vocabulary.build([["a"]], max_size=3)


def test_vocabularies_compare_by_their_tables():
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])
    assert Vocabulary(["a"]) != ["a"]
