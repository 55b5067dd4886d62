import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalgen.recommenders.statistics import NextItemOptions, NextItemStatistics, solve

N_ITEMS, UNIT = 6, 1 << 16
NAMES = ("decayed", "following", "last_decayed", "last_following", "last")
OPTIONS = NextItemOptions(half_life=3.0, window=4, ridge=10.0)
people = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=12), min_size=1, max_size=5)


def packed(sequences):
    """Return sequences as one array and where each begins."""
    items = np.concatenate([np.asarray(items, dtype=np.int64) for items in sequences])
    return items, np.concatenate([[0], np.cumsum([len(items) for items in sequences])])


def counted(sequences, options=OPTIONS):
    """Return the statistics of sequences."""
    found = NextItemStatistics.empty(N_ITEMS, options)
    found.add(*packed(sequences))
    return found


def row_by_row(sequences, options):
    """Return the sums by their definition: an outer product for every row."""
    decay = np.round(UNIT * 2.0 ** (-np.arange(options.window) / options.half_life)).astype(np.int64)
    sums = {name: np.zeros((N_ITEMS, N_ITEMS), dtype=np.int64) for name in NAMES[:4]}
    sums["last"] = np.zeros(N_ITEMS, dtype=np.int64)
    for items in sequences:
        for t in range(len(items) - 1):
            row = np.zeros(N_ITEMS, dtype=np.int64)
            for k in range(min(options.window, t + 1)):
                row[items[t - k]] += decay[k]
            sums["decayed"] += np.outer(row, row)
            sums["following"][:, items[t + 1]] += row
            sums["last_decayed"][items[t]] += row
            sums["last_following"][items[t], items[t + 1]] += 1
            sums["last"][items[t]] += 1
    return sums


@given(sequences=people, window=st.integers(1, 8))
def test_sums_are_those_of_rows(sequences, window):
    """Summed lag by lag they are, to the bit, the Gram matrices of the rows."""
    options = NextItemOptions(half_life=2.5, window=window)
    found, expected = counted(sequences, options), row_by_row(sequences, options)
    assert all(np.array_equal(getattr(found, name), expected[name]) for name in NAMES)


@given(sequences=people, data=st.data())
def test_what_is_new_is_added_to_what_was_known(sequences, data):
    """Yesterday's sums and today's events give the sums of all events, to the bit."""
    known = [data.draw(st.integers(0, len(items))) for items in sequences]
    found = counted([items[:count] for items, count in zip(sequences, known, strict=True)])
    found.add(*packed(sequences), after=np.array(known))
    assert all(np.array_equal(getattr(found, name), getattr(counted(sequences), name)) for name in NAMES)


@given(sequences=people)
def test_a_person_is_forgotten_to_the_bit(sequences):
    """Subtracted, the first person leaves what the others alone had given."""
    found = counted(sequences)
    found.add(*packed(sequences[:1]), sign=-1)
    expected = counted(sequences[1:] or [[]])
    assert all(np.array_equal(getattr(found, name), getattr(expected, name)) for name in NAMES)


@pytest.mark.parametrize("two_scales", [True, False])
def test_coefficients_solve_the_ridge_regression(two_scales):
    """As solved whole and in float64 from the rows."""
    options = NextItemOptions(half_life=3.0, window=4, ridge=10.0, two_scales=two_scales)
    sequences = [np.random.default_rng(k).integers(0, N_ITEMS, 20).tolist() for k in range(30)]
    sums, decayed, last = row_by_row(sequences, options), *solve(counted(sequences, options))
    system, target = sums["decayed"] / UNIT**2, sums["following"] / UNIT
    if two_scales:
        mixed = sums["last_decayed"] / UNIT
        system = np.block([[np.diag(sums["last"]), mixed], [mixed.T, system]])
        target = np.vstack([sums["last_following"], target])
    expected = np.linalg.solve(system + options.ridge * np.eye(len(system)), target)
    assert np.allclose(np.vstack([last, decayed] if two_scales else [decayed]), expected, atol=1e-5)


def test_one_scale_keeps_no_more_than_it_needs():
    """Without coefficients of last items there are no sums of them."""
    found = counted([[0, 1, 2]], NextItemOptions(two_scales=False))
    assert (found.last_decayed.size, found.last_following.size) == (0, 0)
