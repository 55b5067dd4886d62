import numpy as np

from personalgen.evaluation import pair_picture


def plain(value, px):
    return np.full((px, px, 3), value, np.uint8)


def test_a_pair_shows_left_on_the_left_in_whole_pixels():
    """16 px become 320 by whole numbers, left before right, below a row of history; nothing is smoothed."""
    sheet = np.asarray(pair_picture([plain(200, 16)] * 6, plain(10, 16), plain(90, 16)))
    columns = {value: np.unique(np.nonzero((sheet == value).all(axis=2))[1]) for value in (10, 90)}
    assert [len(columns[value]) for value in (10, 90)] == [320, 320]
    assert columns[10].max() < columns[90].min()
    rows = [np.nonzero((sheet == value).all(axis=2))[0] for value in (200, 10)]
    assert rows[0].max() < rows[1].min()


def test_a_person_without_history_has_the_pair_alone():
    """The row on top is left out."""
    with_history, without = (pair_picture(h, plain(0, 32), plain(0, 32)) for h in ([plain(0, 32)], []))
    assert without.height < with_history.height - 90


def test_swapping_the_models_swaps_the_sides_alone():
    """The picture tells nothing else of who drew: two equal pictures give equal sheets either way."""
    one, other = plain(10, 16), plain(90, 16)
    there, back = (np.asarray(pair_picture([], *pair, title="pair 3")) for pair in ((one, other), (other, one)))
    assert there.shape == back.shape
    assert (np.sort(there.reshape(-1, 3), axis=0) == np.sort(back.reshape(-1, 3), axis=0)).all()
    same = [np.asarray(pair_picture([], one, one)) for _ in range(2)]
    assert (same[0] == same[1]).all()
