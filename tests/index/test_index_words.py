"""Words and stems: the same for documents and questions."""

from hypothesis import given
from hypothesis import strategies as st

from app.index.spelling import edit_distance
from app.index.words import clean, is_stop_word, language_code, split_words, stems


def test_words_are_folded_and_split_at_punctuation() -> None:
    expected = ["the", "supervisor", "s", "pto", "form", "1", "000", "file", "no4"]
    assert split_words("The Supervisor's PTO_form: 1,000 € — ﬁle №4") == expected


def test_composed_and_decomposed_accents_are_one_word() -> None:
    assert split_words("Büro") == split_words("Bu\u0308ro")


def test_stems_follow_the_language_and_drop_accents() -> None:
    assert stems(["reimbursements", "approved"], "en") == ["reimburs", "approv"]
    assert stems(["erstattungen"], "de") == stems(["erstattung"], "de")
    assert stems(["congés"], "fr") == stems(["congé"], "fr")
    assert stems(["running"], "") == ["running"]


def test_unknown_language_tags_mean_no_stemming() -> None:
    assert [language_code(tag) for tag in ("en-US", "DE", "xx", "")] == ["en", "de", "", ""]


def test_a_stop_word_of_one_language_is_a_word_of_another() -> None:
    assert is_stop_word("die", "de")
    assert not is_stop_word("die", "en")


@given(st.text())
def test_any_text_can_be_split_and_stored(text: str) -> None:
    for word in split_words(text):
        word.encode("utf-8")
        assert "\n" not in word
        assert len(word) <= 64
    clean(text).encode("utf-8")


def reference_distance(left: str, right: str) -> int:
    """Optimal string alignment by the book, without cut-off."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(right) + 1)] for i in range(len(left) + 1)]
    for i in range(1, len(left) + 1):
        for j in range(1, len(right) + 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (left[i - 1] != right[j - 1]))
            if i > 1 and j > 1 and left[i - 1] == right[j - 2] and left[i - 2] == right[j - 1]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


@given(st.text("abcd", max_size=8), st.text("abcd", max_size=8), st.integers(0, 3))
def test_edit_distance_is_exact_up_to_the_limit(left: str, right: str, most: int) -> None:
    expected = reference_distance(left, right)
    found = edit_distance(left, right, most)
    assert found == expected if expected <= most else found > most
