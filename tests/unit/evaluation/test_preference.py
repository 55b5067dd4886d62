import numpy as np
import pytest

from personalgen.errors import DataError
from personalgen.evaluation import EvaluationOptions, preference_gain
from personalgen.evaluation.interval import resample_counts
from personalgen.evaluation.preference import own_and_others, per_user_gain, permutation_p_value

OPTIONS = EvaluationOptions(bootstrap=500, permutations=500)


def _scores(n=60, *, gain, seed, noise=0.1):
    """Scores with known personal gain: main effects of pictures and users, noise, and `gain` on the diagonal."""
    rng = np.random.default_rng(seed)
    pictures, users = rng.normal(size=(n, 1)), rng.normal(size=(1, n))
    return pictures + users + rng.normal(scale=noise, size=(n, n)) + gain * np.eye(n)


def test_pictures_as_personal_as_real_likes_have_npg_one():
    """Where generated pictures carry the same taste as real likes, NPG is about 1 and certainly not chance."""
    measured = preference_gain(_scores(gain=0.3, seed=0), _scores(gain=0.3, seed=1), options=OPTIONS)
    assert measured.npg.value == pytest.approx(1, abs=0.15)
    assert measured.npg.low < 1 < measured.npg.high
    assert measured.p_value == pytest.approx(1 / 501)


def test_half_the_taste_has_npg_one_half():
    """NPG is linear in the personal part, whatever the main effects of pictures and users."""
    measured = preference_gain(_scores(gain=0.15, seed=0), _scores(gain=0.3, seed=1), options=OPTIONS)
    assert measured.npg.value == pytest.approx(0.5, abs=0.1)


def test_shuffled_users_gain_nothing():
    """Giving everybody another user's pictures brings gain and NPG to about zero and p away from it."""
    given_away = np.roll(_scores(gain=0.3, seed=0), 1, axis=0)
    measured = preference_gain(given_away, _scores(gain=0.3, seed=1), options=OPTIONS)
    assert measured.npg.low < 0.02
    assert measured.npg.value < 0.1
    assert measured.p_value > 0.05


def test_one_average_image_for_all_gains_exactly_nothing():
    """The same picture for everybody, however well it is liked, has no gain and p = 1."""
    scores = np.tile(np.random.default_rng(0).normal(loc=0.8, size=60), (60, 1))
    measured = preference_gain(scores, _scores(gain=0.3, seed=1), options=OPTIONS)
    assert measured.generated.value > 0.5
    assert measured.gain.value == pytest.approx(0, abs=1e-12)
    assert measured.npg.value == pytest.approx(0, abs=1e-12)
    assert measured.p_value == 1


def test_noise_is_rarely_significant():
    """Over 200 sets of scores without taste, p <= 0.05 comes in at most 20 (odds of more: 1 in 1,000)."""
    rng = np.random.default_rng(0)
    small = [permutation_p_value(_scores(n=20, gain=0, seed=k), 199, rng) <= 0.05 for k in range(200)]
    assert 1 <= sum(small) <= 20


def test_interval_covers_the_true_gain():
    """The 95 % interval over 40 users holds the planted gain in at least 88 of 100 draws, and is not too wide."""
    rng, inside, widths, gains = np.random.default_rng(0), 0, [], []
    for _ in range(100):
        taste = rng.normal(loc=0.2, scale=0.3, size=40)
        scores = np.diag(taste) + rng.normal(scale=0.2, size=(40, 40)) + rng.normal(size=(1, 40))
        gain = preference_gain(scores, scores, options=EvaluationOptions(bootstrap=200, permutations=100)).gain
        inside += gain.low <= 0.2 <= gain.high
        widths.append(gain.high - gain.low)
        gains.append(gain.value)
    assert inside >= 88
    assert np.mean(widths) < 2 * 1.96 * np.std(gains) * 1.2


def test_control_is_every_wrong_assignment():
    """`shuffled` is the mean of all pairs of different users, and the four figures add up."""
    scores, real = _scores(n=12, gain=0.3, seed=0), _scores(n=12, gain=0.4, seed=1)
    measured = preference_gain(scores, real, options=OPTIONS)
    wrong = ~np.eye(12, dtype=bool)
    assert measured.shuffled.value == pytest.approx(scores[wrong].mean())
    assert measured.real_shuffled.value == pytest.approx(real[wrong].mean())
    assert measured.gain.value == pytest.approx(measured.generated.value - measured.shuffled.value)
    assert measured.npg.value == pytest.approx(measured.gain.value / (real[~wrong].mean() - real[wrong].mean()))


def test_users_have_their_own_gain():
    """Each user's gain is own score less the mean for others; the mean over users is the gain."""
    scores = _scores(n=12, gain=0.3, seed=0)
    measured = preference_gain(scores, scores, options=OPTIONS)
    assert measured.per_user[3] == pytest.approx(scores[3, 3] - np.delete(scores[3], 3).mean())
    assert np.mean(measured.per_user) == pytest.approx(measured.gain.value)


def test_a_user_drawn_twice_is_not_its_own_control():
    """Resampled means equal those over the drawn users with pairs of one user left out."""
    scores = _scores(n=9, gain=0.3, seed=0)
    counts = resample_counts(9, 5, np.random.default_rng(1))
    own, others = own_and_others(scores, counts)
    for row in range(5):
        drawn = np.repeat(np.arange(9), counts[row].astype(int))
        pairs = [scores[u, v] for u in drawn for v in drawn if u != v]
        assert own[row] == pytest.approx(np.mean([scores[u, u] for u in drawn]))
        assert others[row] == pytest.approx(np.mean(pairs))


def test_a_judge_without_taste_gives_no_npg():
    """Where the judge cannot tell real likes from shuffled ones, NPG is missing with a reason and the rest stays."""
    measured = preference_gain(_scores(gain=0.3, seed=0), _scores(gain=0.0, seed=1), options=OPTIONS)
    assert measured.npg is None
    assert "noise" in measured.npg_missing
    assert measured.gain.value == pytest.approx(0.3, abs=0.1)


def test_constant_scores_do_not_crash():
    """A judge that says the same of everything gives zero gain, p = 1 and no NPG."""
    measured = preference_gain(np.full((8, 8), 0.5), np.full((8, 8), 0.5), options=OPTIONS)
    assert (measured.gain.value, measured.p_value, measured.npg) == (0, 1, None)


def test_the_same_seed_gives_the_same_result():
    """Everything is a function of the scores and the seed; another seed moves the intervals only."""
    scores, real = _scores(gain=0.1, seed=0), _scores(gain=0.3, seed=1)
    first, again = (preference_gain(scores, real, options=OPTIONS) for _ in range(2))
    other = preference_gain(scores, real, options=EvaluationOptions(bootstrap=500, permutations=500, seed=7))
    assert first == again
    assert other.gain != first.gain
    assert other.gain.value == first.gain.value


def test_user_order_does_not_matter():
    """Permuting users alike in rows and columns keeps the estimates."""
    scores, order = _scores(gain=0.2, seed=0), np.random.default_rng(3).permutation(60)
    assert per_user_gain(scores[np.ix_(order, order)]) == pytest.approx(per_user_gain(scores)[order])


@pytest.mark.parametrize(("shape", "message"), [((7, 7), "at least 8 users"), ((9, 10), "square"), ((8, 8), "square")])
def test_other_shapes_are_refused(shape, message):
    """Fewer than 8 users and matrices that do not fit each other are refused."""
    real = np.zeros((7, 7)) if shape == (7, 7) else np.zeros((9, 9))
    with pytest.raises(DataError, match=message):
        preference_gain(np.zeros(shape), real, options=OPTIONS)
