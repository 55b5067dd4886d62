import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalgen.errors import ArtifactError, ConfigError
from personalgen.generation.plan import (
    changed,
    condition_bytes,
    condition_digest,
    condition_vector,
    make_plan,
    read_plan,
    sampled,
    write_plan,
)

NONE = [np.nan, np.nan]


def rotated(degrees):
    return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]


def plan_of(current, tonight, keys=None, **options):
    keys = np.arange(10, 10 + len(tonight)) if keys is None else np.asarray(keys)
    ids = [f"u{key}" for key in keys]
    return make_plan(keys, ids, tonight=np.array(tonight), current=np.array(current), **{"min_shift": 0.05, **options})


def test_shift_is_the_cosine_distance():
    """A turn by 60 degrees is a distance of 0.5: above 0.49, not above 0.51; the length does not count."""
    current, tonight = np.array([rotated(0)]), 7 * np.array([rotated(60)])
    assert changed(current, tonight, min_shift=0.49).tolist() == [True]
    assert changed(current, tonight, min_shift=0.51).tolist() == [False]


def test_equal_rows_are_unchanged_at_any_threshold():
    """Rounding never makes an equal preference a changed one, even at min_shift = 0."""
    rows = np.random.default_rng(0).standard_normal((500, 33)).astype(np.float32)
    assert not changed(rows, rows.copy(), min_shift=0.0).any()


def test_columns_can_be_compared_part_by_part():
    """A small part that turned counts as much as a large one that did not; columns of no part count for nothing."""
    current = np.array([[100.0, 0.0, *rotated(0), 5.0]])
    tonight = np.array([[100.0, 0.0, *rotated(60), 9.0]])
    parts = (np.array([0, 1]), np.array([2, 3]))
    assert changed(current, tonight, min_shift=0.05).tolist() == [False]
    assert changed(current, tonight, min_shift=0.49, parts=parts).tolist() == [True]
    assert changed(current, tonight, min_shift=0.51, parts=parts).tolist() == [False]
    assert changed(current, tonight, min_shift=0.0, parts=parts[:1]).tolist() == [False]
    assert changed(np.full((1, 5), np.nan), tonight, min_shift=2.0, parts=parts[:1]).tolist() == [True]


def test_zero_rows_have_a_defined_distance():
    """Nothing to nothing is no change; nothing to something is one."""
    current, tonight = np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    assert changed(current, tonight, min_shift=0.05).tolist() == [False, True]


def test_missing_asset_needs_one_whatever_the_threshold():
    """A user without a current asset is planned even if nothing ever counts as a shift."""
    assert changed(np.array([NONE]), np.array([[0.0, 0.0]]), min_shift=2.0).tolist() == [True]


def test_tonight_must_be_finite():
    """A NaN from embed stops the plan instead of reading as 'unchanged'."""
    with pytest.raises(ConfigError, match="1 of tonight's 2"):
        changed(np.zeros((2, 2)), np.array([[1.0, 0.0], [np.nan, 0.0]]), min_shift=0.05)


def test_other_widths_are_refused():
    """Conditions of two bases cannot be compared."""
    with pytest.raises(ConfigError, match="basis"):
        changed(np.zeros((1, 2)), np.zeros((1, 3)), min_shift=0.05)


def test_plan_counts_and_sorts():
    """One new, one changed and one unchanged user: two are planned, by key, with their row of tonight's table."""
    plan = plan_of([rotated(0), rotated(0), NONE], [rotated(90), rotated(1), rotated(5)], keys=[30, 20, 10])
    assert (plan.n_new, plan.n_changed, plan.n_unchanged) == (1, 1, 1)
    assert plan.user_keys.tolist() == [10, 30]
    assert plan.user_ids == ("u10", "u30")
    assert plan.rows.tolist() == [2, 0]


def test_regenerate_all_plans_the_unchanged_too():
    """Everybody is planned, and the counts still say why."""
    plan = plan_of([rotated(0)], [rotated(0)], regenerate_all=True)
    assert (len(plan), plan.n_unchanged) == (1, 1)


def test_duplicate_users_are_refused():
    """Two rows for one key would make two assets of one natural key."""
    with pytest.raises(ConfigError, match="1 distinct"):
        plan_of([NONE, NONE], [rotated(0), rotated(1)], keys=[5, 5])


@given(st.permutations(list(range(8))))
def test_order_of_the_users_does_not_matter(order):
    """A permuted table gives the same users, reasons and shards."""
    rng = np.random.default_rng(1)
    tonight, current = rng.standard_normal((8, 3)), rng.standard_normal((8, 3))
    current[:3], current[5] = np.nan, tonight[5]
    keys = np.arange(100, 108)
    a = plan_of(current, tonight, keys)
    b = plan_of(current[order], tonight[order], keys[order])
    assert a.user_keys.tolist() == b.user_keys.tolist()
    assert a.user_ids == b.user_ids
    assert (a.n_new, a.n_changed, a.n_unchanged) == (b.n_new, b.n_changed, b.n_unchanged)
    assert tonight[a.rows].tolist() == tonight[order][b.rows].tolist()


def test_shards_cover_the_plan_once():
    """Fixed boundaries and names; the last shard is shorter."""
    plan = plan_of([NONE] * 5, [rotated(0)] * 5)
    pieces = list(plan.shards(42, shard_size=2))
    assert [(piece.name, piece.start, piece.stop) for piece in pieces] == [
        ("shards/night=000042/000000", 0, 2),
        ("shards/night=000042/000001", 2, 4),
        ("shards/night=000042/000002", 4, 5),
    ]


def test_an_empty_plan_has_no_shards():
    """A night in which nobody changed writes nothing."""
    plan = plan_of([rotated(0)], [rotated(0)])
    assert len(plan) == 0
    assert list(plan.shards(1, shard_size=10)) == []


def test_keep_leaves_the_reasons_alone():
    """Users whose image exists already are taken out; what was counted stays counted."""
    plan = plan_of([NONE, NONE], [rotated(0), rotated(9)])
    kept = plan.keep(np.array([False, True]))
    assert (kept.user_ids, kept.rows.tolist(), kept.n_new) == (("u11",), [1], 2)


def test_plan_survives_the_disk(tmp_path):
    """A resumed night reads exactly the plan that the interrupted one wrote; before that there is none."""
    path = tmp_path / "plan.parquet"
    assert read_plan(path) is None
    plan = plan_of([NONE, rotated(0), rotated(0)], [rotated(0), rotated(50), rotated(0)])
    write_plan(path, plan)
    again = read_plan(path)
    assert (again.user_ids, again.n_new, again.n_changed, again.n_unchanged) == (plan.user_ids, 1, 1, 1)
    assert again.user_keys.tolist() == plan.user_keys.tolist()
    assert again.rows.tolist() == plan.rows.tolist()


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    """A damaged plan is an error with advice, not an empty night."""
    (tmp_path / "plan.parquet").write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match="Delete it"):
        read_plan(tmp_path / "plan.parquet")


def test_condition_bytes_are_little_endian_float32():
    """The stored form is fixed, whatever the machine or the dtype at hand."""
    assert condition_bytes(np.array([1.0, -2.0])) == b"\x00\x00\x80?\x00\x00\x00\xc0"
    assert condition_vector(condition_bytes(np.array([1.0, -2.0]))).tolist() == [1.0, -2.0]


def test_condition_digest_is_of_the_float32_value():
    """float64 input, a strided view and -0.0 give the digest of the same float32 vector; another vector does not."""
    vector = np.array([0.0, 0.1, 3.0], dtype=np.float32)
    wide = np.zeros(6)
    wide[::2] = vector
    assert condition_digest(vector) == condition_digest(wide[::2])
    assert condition_digest(vector) == condition_digest(np.array([-0.0, *vector[1:]], dtype=np.float32))
    assert condition_digest(vector) != condition_digest(np.nextafter(vector, np.float32(9)))


def test_condition_digest_is_fixed_for_ever():
    """The digest is part of stored keys: it must never change with the code."""
    assert condition_digest(np.array([1.0, -2.0], dtype=np.float32)) == 8888732964905189352


def test_a_canary_takes_about_its_share_of_the_users():
    """A tenth of 20,000 within five standard errors; nobody at 0, everybody at 1. A false alarm is 1 in 1.7 million."""
    ids = [f"user-{k}" for k in range(20_000)]
    assert abs(sampled(ids, share=0.1, version=3).mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 20_000)
    assert not sampled(ids, share=0.0, version=3).any()
    assert sampled(ids, share=1.0, version=3).all()


def test_each_version_has_a_canary_of_its_own():
    """The same users for one version, in whatever order they come; for another one, others."""
    ids = [f"user-{k}" for k in range(2_000)]
    taken = {name for name, here in zip(ids, sampled(ids, share=0.5, version=3), strict=True) if here}
    turned = ids[::-1]
    assert taken == {name for name, here in zip(turned, sampled(turned, share=0.5, version=3), strict=True) if here}
    other = {name for name, here in zip(ids, sampled(ids, share=0.5, version=4), strict=True) if here}
    assert 0.4 < len(taken & other) / len(taken) < 0.6
