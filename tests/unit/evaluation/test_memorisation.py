import functools
import importlib

import numpy as np
import pytest
import torch

from personalgen.errors import DataError
from personalgen.evaluation import memorisation as by_direction
from personalgen.evaluation.memorisation import mean_nearest_cosine, mifid, mifid_with_control


def _rows(n, d=5, *, seed, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


memorisation = functools.partial(by_direction, unit=False)
TRAIN, HELD_OUT = _rows(500, seed=0), _rows(800, seed=1)


def test_copies_of_training_pictures_are_found():
    """Copies, and copies with a little noise, are all nearer than 99 % of held-out pictures; the control is not."""
    for noise in (0.0, 1e-3):
        found = memorisation(TRAIN, HELD_OUT, TRAIN[:200] + noise * _rows(200, seed=2))
        assert found.share.value == 1
        assert found.control.value < 0.05


def test_fresh_pictures_are_at_the_control():
    """Over 40 draws, new real pictures and the other held-out half come below the threshold as often as expected.

    Both means lie within three of their standard errors of what is expected.
    """
    draws = [
        memorisation(_rows(300, seed=3 * k), _rows(600, seed=3 * k + 1), _rows(300, seed=3 * k + 2)) for k in range(40)
    ]
    for name in ("share", "control"):
        values = np.array([getattr(draw, name).value for draw in draws])
        assert abs(values.mean() - draws[0].expected) < 3 * values.std() / np.sqrt(40)
    assert draws[0].expected == pytest.approx(0.01, rel=0.01)


def test_half_copies_are_half_and_users_have_their_own_share():
    """A model that copies for every other user has a share of one half, with an interval around it."""
    fake = _rows(160, seed=2, shift=3)
    fake[np.arange(160) % 8 < 4] = TRAIN[:80]
    found = memorisation(TRAIN, HELD_OUT, fake, groups=np.repeat(np.arange(40), 4))
    assert found.per_user == (1.0, 0.0) * 20
    assert found.share.low < found.share.value == 0.5 < found.share.high


def test_noise_memorises_nothing():
    """Pictures that look like nothing real are far from training pictures too."""
    found = memorisation(TRAIN, HELD_OUT, _rows(100, seed=2, shift=10))
    assert found.share.value == 0
    assert found.control.low >= 0


def test_short_rows_that_point_elsewhere_memorise_nothing():
    """One training row near the origin makes all noise of short rows a copy by distance, and none by direction."""
    train, held_out = (_rows(400, d=20, seed=seed, shift=0.8) for seed in (0, 1))
    noise = 0.1 * _rows(200, d=20, seed=2)
    train[0] *= 0.1
    assert memorisation(train, held_out, noise).share.value == 1
    assert by_direction(train, held_out, noise).share.value == 0
    assert by_direction(train, held_out, train[:100]).share.value == 1


def test_held_out_duplicates_count_once():
    """A held-out set in which each picture comes three times gives the figures of the set without duplicates."""
    fake = _rows(100, seed=2)
    assert memorisation(TRAIN, np.repeat(HELD_OUT, 3, axis=0), fake) == memorisation(TRAIN, HELD_OUT, fake)


def test_held_out_copies_of_training_pictures_do_not_hide_copies():
    """Where held-out pictures are in the training set, the threshold does not fall to zero, and copies are found."""
    held_out = np.concatenate([HELD_OUT[:400], TRAIN[:100]])
    found = memorisation(TRAIN, held_out, TRAIN[200:300])
    assert found.threshold > 0
    assert found.share.value == 1
    assert found.control.value == pytest.approx(0.2, abs=0.06)


def test_few_held_out_pictures_expect_more():
    """With 10 pictures to set the threshold the least of them is it, and a new one is below with odds of 1 in 11."""
    found = memorisation(TRAIN, HELD_OUT[:20], _rows(20, seed=2))
    assert found.expected == pytest.approx(1 / 11)
    assert found.n_held_out == 20


def test_mifid_equals_torchmetrics():
    """On features near and far from training ones, the value equals another library's with an identity net.

    torchmetrics averages over *its* real rows how far the nearest generated one is; the paper and the competition
    average over generated rows. The Fréchet distance is symmetric, so the sets change places.
    """
    from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance

    class Identity(torch.nn.Module):
        def forward(self, rows):
            return rows

    train = _rows(300, d=8, seed=0)
    for fake in (train[:200] + _rows(200, d=8, seed=2) * 0.2, _rows(200, d=8, seed=3, shift=1)):
        metric = MemorizationInformedFrechetInceptionDistance(Identity(), cosine_distance_eps=0.1)
        metric.update(torch.from_numpy(fake).double(), real=True)
        metric.update(torch.from_numpy(train).double(), real=False)
        assert mifid(train, fake) == pytest.approx(float(metric.compute()), rel=1e-6)


def test_mean_cosine_distance_equals_the_loop(monkeypatch):
    """The mean distance to the nearest is that of all pairs, in chunks as well; zero rows have no direction."""
    rows, train = _rows(20, seed=0), _rows(30, seed=1)
    cosine = rows @ train.T / np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(train, axis=1))
    expected = np.mean([min(1 - abs(value) for value in row) for row in cosine])
    assert mean_nearest_cosine(rows, train) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(importlib.import_module("personalgen.evaluation.memorisation"), "_CHUNK_ROWS", 7)
    with_zero = np.concatenate([rows, np.zeros((1, 5), np.float32)])
    assert mean_nearest_cosine(with_zero, train) == pytest.approx(expected, rel=1e-5)


def test_mifid_punishes_copies_and_not_the_control():
    """Near copies have a value far above that of held-out pictures, which in 30 columns are all far from training."""
    train, held_out = _rows(400, d=30, seed=0), _rows(400, d=30, seed=1)
    measured = mifid_with_control(train, held_out, train[:300] + 0.05 * _rows(300, d=30, seed=2))
    assert measured.n_rows == 300
    assert measured.distance < 0.1 < measured.control_distance
    assert measured.value > 50 * measured.control
    fresh = mifid_with_control(train, held_out, _rows(300, d=30, seed=2))
    assert fresh.value == pytest.approx(fresh.control, rel=0.3)


def test_the_same_seed_gives_the_same_result():
    """Both figures are functions of the rows and the seed, which halves the held-out pictures."""
    fake = _rows(100, seed=2)
    first, again, other = (memorisation(TRAIN, HELD_OUT, fake, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.threshold != other.threshold
    assert mifid_with_control(TRAIN, HELD_OUT, fake) == mifid_with_control(TRAIN, HELD_OUT, fake)


@pytest.mark.parametrize(
    ("held_out", "groups", "message"),
    [
        (HELD_OUT[:15], None, "16 different held-out"),
        (HELD_OUT, np.arange(40) % 7, "8 users"),
        (HELD_OUT[:, :4], None, "one width"),
    ],
)
def test_what_cannot_be_measured_is_refused(held_out, groups, message):
    """Too few held-out pictures or users, and other widths, are named."""
    with pytest.raises(DataError, match=message):
        memorisation(TRAIN, held_out, _rows(40, seed=2), groups=groups)


def test_a_few_pictures_that_are_there_twice_do_not_blind_it():
    """Three in a hundred held-out pictures are training ones with a little noise; copies with more noise are found."""
    rng = np.random.default_rng(0)
    train, real = rng.normal(size=(500, 32)), rng.normal(size=(400, 32))
    real[:12] = train[:12] + 1e-3 * rng.normal(size=(12, 32))
    copies = train[rng.integers(0, 500, 200)] + 0.02 * rng.normal(size=(200, 32))
    assert memorisation(train, real, copies).share.value == 1
    assert memorisation(train, real, rng.normal(size=(200, 32))).share.value < 0.05
