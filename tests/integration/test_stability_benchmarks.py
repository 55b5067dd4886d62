"""The benchmarks of stability: what they count, on numbers with a known answer, and that they run at toy size."""

import json

import numpy as np
import pytest

from benchmarks import seeds, stacked_digits


class FirstPixel:
    """A classifier that reads a digit from the first pixel, a tenth of a byte each."""

    def predict(self, flat):
        """Return the digits of flat pictures."""
        return np.round(flat[:, 0] * 255 / 25).astype(int)


def picture(*digits):
    """Return a picture whose channels show the digits."""
    return np.broadcast_to(np.array([25 * digit for digit in digits], np.uint8), (2, 2, 3))


def test_modes_are_counted_once():
    """Three kinds of picture are three modes, however often each is shown."""
    pictures = np.stack([picture(1, 2, 3), picture(1, 2, 3), picture(3, 2, 1), picture(0, 0, 9)])
    assert stacked_digits.covered(FirstPixel(), pictures)[0] == 3


def test_the_divergence_is_zero_for_even_shares_and_log_1000_for_one_mode():
    """Each of the 1,000 modes once is even; one picture again and again is 6.9 nats away from that."""
    every = np.stack([picture(k // 100, k // 10 % 10, k % 10) for k in range(1000)])
    assert stacked_digits.covered(FirstPixel(), every) == (1000, pytest.approx(0.0, abs=1e-9))
    assert stacked_digits.covered(FirstPixel(), every[:1].repeat(7, axis=0)) == (1, pytest.approx(np.log(1000)))


def test_stacked_pictures_hold_one_digit_per_channel():
    """Channel k of every picture is one of the digits, and channels are chosen apart."""
    digits = np.arange(10, dtype=np.uint8)[:, None, None].repeat(16, 1).repeat(16, 2)
    pictures = stacked_digits.stacked(digits, 500, np.random.default_rng(0))
    assert pictures.shape == (500, 16, 16, 3)
    assert (pictures == pictures[:, :1, :1]).all()
    assert len(np.unique(pictures[:, 0, 0], axis=0)) > 300


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_family_is_counted_at_toy_size(tmp_path):
    """One flat object of numbers, with modes, divergence and minutes of each family."""
    file = tmp_path / "stacked.json"
    assert stacked_digits.main(["--quick", "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    assert all(isinstance(value, (int, float)) for value in figures.values())
    assert all(1 <= figures[f"{family}_modes"] <= 640 for family in stacked_digits.PLAYERS)
    assert figures["classifier_accuracy"] > 0.97


def row(kid, half_width, finished=1.0):
    """Return the figures of a seed."""
    return {
        "finished": finished,
        "kid": kid,
        "kid_low": kid - half_width,
        "kid_high": kid + half_width,
        "rollbacks": 1.0,
    }


def test_a_seed_is_as_good_as_the_best_where_their_intervals_meet():
    """0.3 and 0.45 with half-widths of 0.1 meet, 0.6 does not; a failed seed is neither finished nor good."""
    rows = [row(0.3, 0.1), row(0.45, 0.1), row(0.6, 0.1), {"finished": 0.0, "rollbacks": 3.0}]
    found = seeds.summary(rows)
    assert (found["n_seeds"], found["n_finished"], found["n_overlapping_best"]) == (4, 3, 2)
    assert (found["best_kid"], found["median_kid"], found["worst_kid"], found["n_rollbacks"]) == (0.3, 0.45, 0.6, 6)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_seeds_that_are_done_are_not_run_again(tmp_path):
    """The second call reads what the first one left, and both write the same figures."""
    texts = []
    for k in range(2):
        file = tmp_path / f"{k}.json"
        assert seeds.main(["--quick", "--seeds", "2", "--home", str(tmp_path / "home"), "--json", str(file)]) == 0
        texts.append(file.read_text())
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["n_finished"] == 2
    assert len(list((tmp_path / "home").glob("seed-*.png"))) == 2
