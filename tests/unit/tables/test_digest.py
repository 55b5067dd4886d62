import subprocess
import sys

import numpy as np

from personalgen.tables.digest import RowSum, mixed, record_words, text_words

TEXTS = "3:d8e0eb59d254d6876520645f96e2f432"
NUMBERS = "3:5291e3443c297e109209866f29476760"


def summed(words):
    total = RowSum()
    total.add(words)
    return total.hex()


def test_digests_are_fixed_for_ever():
    """Seals of earlier releases are found again: neither the process, its hash seed nor a library's version shows."""
    assert summed(text_words(["a", None, ""])) == TEXTS
    assert summed(mixed([np.arange(3, dtype=np.uint64), np.full(3, 7, np.uint64)])) == NUMBERS
    code = "from personalgen.tables.digest import *; s = RowSum(); s.add(text_words(['a', None, ''])); print(s.hex())"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, capture_output=True, check=True)
    assert done.stdout.decode().strip() == TEXTS


def test_order_and_batches_do_not_show():
    """Rows in another order and in other batches sum to the same."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**64, (100, 2), dtype=np.uint64)
    parts = RowSum()
    for part in np.array_split(words[rng.permutation(100)], 7):
        parts.add(part)
    assert parts.hex() == summed(words)


def test_repeated_rows_show():
    """A row that comes twice does not cancel itself out."""
    once, twice = text_words(["a"]), text_words(["a", "a"])
    assert summed(once) != summed(twice)
    assert summed(twice) != summed(text_words([]))


def test_none_is_not_the_empty_text():
    """A missing value and an empty one differ."""
    none, empty = text_words([None, ""])
    assert none.tolist() != empty.tolist()


def test_fields_do_not_run_into_each_other():
    """Moving a character from one field to the next changes the record."""
    records = [("ab", "c"), ("a", "bc"), ("abc", ""), ("abc", None), ("", "abc"), ("1:a", "2:b"), ("1:a2:b", "")]
    assert len({tuple(words) for words in record_words(records).tolist()}) == len(records)


def test_columns_are_not_interchangeable():
    """Mixing is a function of which column holds which word."""
    left, right = np.array([1], np.uint64), np.array([2], np.uint64)
    assert mixed([left, right]).tolist() != mixed([right, left]).tolist()


def test_mixed_words_do_not_collide_on_small_numbers():
    """65,536 rows of small numbers have as many hashes, in each lane alone."""
    a, b = np.divmod(np.arange(65_536, dtype=np.uint64), np.uint64(256))
    words = mixed([a, b])
    assert [len(np.unique(words[:, lane])) for lane in (0, 1)] == [65_536, 65_536]
