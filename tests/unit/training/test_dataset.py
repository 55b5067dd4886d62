import dataclasses

import numpy as np
import pytest
import torch

from personalgen.errors import ConfigError, DataError
from personalgen.training import TrainingPairs
from personalgen.training.dataset import Behaviour

USERS = np.array([0, 0, 0, 3, 7, 7])
VECTORS = np.stack([USERS, np.arange(6)], axis=1).astype(np.float32)
PICTURES = np.repeat(np.arange(6, dtype=np.uint8), 4 * 4 * 3).reshape(6, 4, 4, 3)
SHOWN = np.arange(6)[::-1].copy()


@pytest.fixture
def pairs():
    """Return six pairs of three users; picture k is all k, the vector of pair k is (user, k)."""
    return TrainingPairs.of(PICTURES, SHOWN, USERS, of_pair={"taste": VECTORS})


@pytest.fixture
def rng():
    """Return a generator of random numbers in a known state."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def behaviour():
    """Return ten events of the three users, of item k mod 3, whose features are (k, -k); sequences have up to three.

    Events 0 to 4 are user 0's, 5 and 6 user 3's, 7 to 9 user 7's, one a day. The pairs' moments are events
    1, 3 and 4, then 5, then 7 and 9.
    """
    stop = torch.tensor([1, 3, 4, 5, 7, 9])
    return Behaviour(
        name="behaviour",
        longest=3,
        item_features=torch.stack([torch.arange(3.0), -torch.arange(3.0)], 1),
        item_of_event=torch.arange(10) % 3,
        weight_of_event=torch.arange(10.0) - 4,
        day_of_event=torch.arange(100.0, 110.0),
        start_of_pair=torch.tensor([0, 0, 0, 5, 7, 7]),
        stop_of_pair=stop,
    )


def bytes_of(images):
    """Return images as numbers from 0 to 255."""
    return ((images + 1) * 127.5).round().long()


def drawn(pairs, batch_size, group_size, rng, **options):
    """Return the users, the pairs and the pictures of a batch."""
    batch = pairs.draw(batch_size, group_size, rng=rng, **options)
    vectors = batch.condition.values["taste"]
    return vectors[:, 0].long(), vectors[:, 1].long(), bytes_of(batch.images)


def same(one, other):
    """Return whether two batches are the same, bit for bit."""
    conditions = [{**batch.condition.values, **batch.condition.masks} for batch in (one, other)]
    tensors = [
        [batch.images, batch.person, *(batch.condition.values | batch.condition.masks).values()]
        for batch in (one, other)
    ]
    return conditions[0].keys() == conditions[1].keys() and all(map(torch.equal, *tensors))


def test_groups_are_one_users(pairs, rng):
    """Every group of four holds pictures of one user, and users differ between groups."""
    users, _, _ = drawn(pairs, 4000, 4, rng)
    groups = users.reshape(-1, 4)
    assert (groups == groups[:, :1]).all()
    assert set(groups[:, 0].tolist()) == {0, 3, 7}


def test_rows_of_one_person_have_one_number(pairs, rng):
    """Whether in one group or in several, and rows of different people have different numbers."""
    batch = pairs.draw(400, 4, rng=rng)
    users = batch.condition.values["taste"][:, 0]
    assert torch.equal(batch.person[:, None] == batch.person, users[:, None] == users)


def test_a_vector_comes_with_the_picture_of_its_own_pair(pairs, rng):
    """Pair k shows picture 5 - k, all pixels of it, scaled from bytes to [-1, 1]."""
    _, index, images = drawn(pairs, 600, 3, rng)
    assert (images == (5 - index)[:, None, None, None]).all()
    assert set(index.tolist()) == set(range(6))
    extremes = TrainingPairs.of(
        np.array([0, 255], dtype=np.uint8).repeat(48).reshape(2, 4, 4, 3), np.arange(2), np.arange(2)
    )
    assert {float(x) for x in extremes.draw(50, 1, rng=rng).images.unique()} == {-1, 1}


def test_every_pair_is_as_likely_as_another(pairs, rng):
    """Of 30,000 draws each pair has a sixth, within five standard errors for groups of two (odds: one in a million)."""
    _, index, _ = drawn(pairs, 30_000, 2, rng)
    shares = index.bincount(minlength=6) / 30_000
    assert shares.tolist() == pytest.approx([1 / 6] * 6, abs=5 * (2 * 5 / 36 / 30_000) ** 0.5)


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_a_draw_is_decided_by_the_generator_alone(pairs, mixup):
    """The same state draws the same batch, another one another; torch's global state is neither read nor moved."""
    before = torch.get_rng_state()
    one, other, third = (pairs.draw(12, 2, rng=torch.Generator().manual_seed(seed), mixup=mixup) for seed in (5, 5, 6))
    assert same(one, other)
    assert not same(one, third)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_that_groups_do_not_divide_is_refused(pairs, rng):
    """Half a group would be judged as one group of everybody."""
    with pytest.raises(ConfigError, match=r"train: batch_size .*model\.group_size.* 4, found 10"):
        pairs.draw(10, 4, rng=rng)


def test_nothing_to_train_on_is_refused():
    """No pair is a DataError that says why."""
    nothing = np.zeros(0, dtype=np.int64)
    with pytest.raises(DataError, match="no user liked a training item"):
        TrainingPairs.of(PICTURES, nothing, nothing)


def test_users_must_be_in_order():
    """Pairs of a user that are not consecutive would mix people within a group."""
    with pytest.raises(DataError, match="sorted by user"):
        TrainingPairs.of(PICTURES, np.zeros(3, np.int64), np.array([0, 1, 0]))


def test_what_is_known_of_a_picture_comes_with_it(rng):
    """A field of images follows the picture, one of pairs the pair, and both stand in one condition."""
    labels = np.eye(6, dtype=np.float32)
    pairs = TrainingPairs.of(PICTURES, SHOWN, USERS, of_pair={"taste": VECTORS}, of_image={"label": labels})
    batch = pairs.draw(60, 2, rng=rng)
    assert batch.condition.widths == {"taste": 2, "label": 6}
    assert torch.equal(batch.condition.values["label"].argmax(1), bytes_of(batch.images)[:, 0, 0, 0])
    assert all(batch.condition.masks[name].all() for name in ("taste", "label"))


def test_absent_rows_are_absent(rng):
    """A pair without a vector, and a picture without a label, keep that wherever they are drawn."""
    absent = {"taste": np.arange(6) == 2, "label": np.arange(6) == 0}
    fields = {"of_pair": {"taste": VECTORS}, "of_image": {"label": np.eye(6, dtype=np.float32)}}
    pairs = TrainingPairs.of(PICTURES, SHOWN, USERS, absent=absent, **fields)
    batch = pairs.draw(300, 1, rng=rng)
    shown = bytes_of(batch.images)[:, 0, 0, 0]
    assert torch.equal(batch.condition.masks["taste"], shown != 3)
    assert torch.equal(batch.condition.masks["label"], shown != 0)
    assert {0, 3} < set(shown.tolist())


def test_a_part_of_a_batch_is_its_rows(pairs, rng):
    """Images, conditions and people of the chosen rows."""
    batch = pairs.draw(8, 2, rng=rng)
    part = batch.rows(slice(2, 6))
    assert torch.equal(part.images, batch.images[2:6])
    assert torch.equal(part.condition.values["taste"], batch.condition.values["taste"][2:6])
    assert torch.equal(part.person, batch.person[2:6])


def test_pairs_without_fields_have_rows_alone(rng):
    """An unconditional training has images and a condition that counts them."""
    batch = TrainingPairs.of(PICTURES, SHOWN, USERS).draw(6, 2, rng=rng)
    assert batch.condition.widths == {}
    assert batch.condition.batch_size == len(batch.images) == 6


# --- behaviour --------------------------------------------------------------------------------------------------------


def test_sequences_hold_what_the_user_did_before_newest_first(behaviour):
    """By hand, for all pairs: the last three events of the same user before the pair's moment, and nothing else."""
    _, mask = behaviour.sequences(torch.arange(6))
    found, _ = behaviour.sequences(torch.arange(6))
    events = [row[present, 2].add(4).long().tolist() for row, present in zip(found, mask, strict=True)]
    assert events == [[0], [2, 1, 0], [3, 2, 1], [], [], [8, 7]]
    assert [row.tolist() for row in mask] == [[k < len(known) for k in range(3)] for known in events]


def test_a_row_is_the_items_features_the_weight_and_the_age(behaviour):
    """Pair 2's newest event is 3, of item 0 with weight -1, whose age is zero; then 2, of item 2, a day older."""
    rows, _ = behaviour.sequences(torch.tensor([2]))
    assert rows.shape == (1, 3, behaviour.width) == (1, 3, 4)
    torch.testing.assert_close(rows[0, 0], torch.tensor([0.0, 0, -1, 0]), check_dtype=False)
    torch.testing.assert_close(rows[0, 1], torch.tensor([2, -2, -2, np.log(2)]), check_dtype=False)


def test_what_comes_later_changes_no_sequence(behaviour):
    """Point in time: other items, weights and days from each pair's moment on, and of others, leave it as it is."""
    for pair in range(6):
        start, stop = int(behaviour.start_of_pair[pair]), int(behaviour.stop_of_pair[pair])
        known = (torch.arange(10) >= start) & (torch.arange(10) < stop)
        other = dataclasses.replace(
            behaviour,
            item_of_event=torch.where(known, behaviour.item_of_event, 2 - behaviour.item_of_event),
            weight_of_event=torch.where(known, behaviour.weight_of_event, 77.0),
            day_of_event=torch.where(known, behaviour.day_of_event, -1e6),
        )
        assert all(map(torch.equal, other.sequences(torch.tensor([pair])), behaviour.sequences(torch.tensor([pair]))))


def test_absent_elements_are_zero(behaviour):
    """Where a sequence is shorter than the longest, the rest holds nothing of anybody."""
    rows, mask = behaviour.sequences(torch.arange(6))
    assert not rows[~mask].any()
    assert rows[mask].any(1).all()


def test_ages_count_back_from_the_newest_event_known(behaviour):
    """A week that passes after a user's last event changes nothing; a later clock of all events does not either."""
    moved = dataclasses.replace(behaviour, day_of_event=behaviour.day_of_event + 7)
    assert all(map(torch.equal, moved.sequences(torch.arange(6)), behaviour.sequences(torch.arange(6))))
    rows, mask = behaviour.sequences(torch.arange(6))
    torch.testing.assert_close(rows[..., 3], torch.log1p(torch.arange(3.0)) * mask)


def test_a_drawn_sequence_is_that_of_the_drawn_pair(behaviour, rng):
    """Picture, vector and sequence of a row are one pair's, and elements carry masks of their own."""
    pairs = TrainingPairs.of(PICTURES, SHOWN, USERS, of_pair={"taste": VECTORS}, behaviour=behaviour)
    batch = pairs.draw(60, 2, rng=rng)
    rows, mask = behaviour.sequences(batch.condition.values["taste"][:, 1].long())
    assert torch.equal(batch.condition.values["behaviour"], rows)
    assert torch.equal(batch.condition.masks["behaviour"], mask)


def test_pictures_of_a_group_are_different_as_far_as_there_are(rng):
    """Five of five likes are all of them; of two likes each is shown twice or thrice; all orders are as likely."""
    user = np.repeat([0, 1], [5, 2])
    pictures = np.repeat(np.arange(7, dtype=np.uint8), 48).reshape(7, 4, 4, 3)
    pairs = TrainingPairs.of(pictures, np.arange(7), user, of_pair={"taste": np.zeros((7, 1), np.float32)})
    shown = bytes_of(pairs.draw(20_000, 5, rng=rng).images)[:, 0, 0, 0].reshape(-1, 5)
    many, few = shown[shown[:, 0] < 5], shown[shown[:, 0] >= 5]
    assert (many.sort(dim=1).values == torch.arange(5)).all()
    assert ((few == 5).sum(1) >= 2).all()
    assert ((few == 6).sum(1) >= 2).all()
    # 1 in 5 at each place; with some 2,800 groups five standard errors are 0.04.
    places = torch.stack([(many == k).float().mean(0) for k in range(5)])
    torch.testing.assert_close(places, torch.full((5, 5), 0.2), atol=0.04, rtol=0)


# --- mixing people ----------------------------------------------------------------------------------------------------

N_PEOPLE = 50


@pytest.fixture
def people():
    """Return 50 users with two pairs each; picture and vector of user u are u, so that a row tells who it is of."""
    user = np.repeat(np.arange(N_PEOPLE), 2)
    pictures = np.repeat(np.arange(N_PEOPLE, dtype=np.uint8), 48).reshape(N_PEOPLE, 4, 4, 3)
    vectors = np.stack([user, user**2], axis=1).astype(np.float32)
    return TrainingPairs.of(pictures, user, user, of_pair={"taste": vectors})


def blends(pairs, rng, *, groups=4000, size=2, mixup=1.0):
    """Return per group: its own user and the other, the share of the own one, and what is shown, (groups, size).

    The own user is not recorded; it follows from the vector: a blend of (u, u^2) and (v, v^2) lies on one chord.
    """
    batch = pairs.draw(groups * size, size, rng=rng, mixup=mixup)
    shown = bytes_of(batch.images)[:, 0, 0, 0].reshape(groups, size)
    return batch.condition.values["taste"].reshape(groups, size, 2), shown, batch.person.reshape(groups, size)


def test_without_mixup_a_person_is_one_user(people, rng):
    """The vector of every row is that of the user whose picture it shows."""
    vectors, shown, _ = blends(people, rng, mixup=0.0)
    assert torch.equal(vectors[..., 0].round().long(), shown)


def test_blended_vectors_lie_between_two_users(people, rng):
    """A vector and the users of the pictures of its group fit one chord of the parabola; one group has one vector."""
    vectors, shown, _ = blends(people, rng)
    assert torch.equal(vectors[:, 0], vectors[:, 1])
    two = shown[:, 0] != shown[:, 1]
    u, v = shown[two].float().T
    x, y = vectors[two, 0].T
    torch.testing.assert_close(y, (u + v) * x - u * v, atol=0.1, rtol=1e-4)
    assert ((x - u) * (x - v) <= 1e-3).all()
    assert 0.1 < two.float().mean() < 0.6


def test_pictures_come_from_both_in_proportion(people, rng):
    """The nearer user has at least half of the vector, and as large a share of pictures as of the vector.

    Of the 16,000 rows, of 4,000 people blended by shares even between a half and one, a quarter shows the other user:
    within 0.02, which is five standard errors. In fifths of the share, each within 0.05 of it (six standard errors).
    """
    batch = people.draw(16_000, 4, rng=rng, mixup=1.0)
    shown = bytes_of(batch.images)[:, 0, 0, 0].float()
    x, y = batch.condition.values["taste"].T
    # The chord's ends: with the one known, y = (u + v) x - u v gives the other.
    other = (shown * x - y) / (shown - x)
    known = (shown - x).abs() > 1e-3  # a blend with oneself says nothing
    share_of_shown = ((x - other) / (shown - other))[known]
    assert share_of_shown.min() > -1e-2
    assert share_of_shown.max() < 1 + 1e-2
    nearer = share_of_shown > 0.5
    assert float(nearer.float().mean()) == pytest.approx(0.75, abs=0.02)
    share = torch.where(nearer, share_of_shown, 1 - share_of_shown)
    for low in (0.5, 0.6, 0.7, 0.8, 0.9):
        inside = (share >= low) & (share < low + 0.1)
        assert float(nearer[inside].float().mean()) == pytest.approx(float(share[inside].mean()), abs=0.05)


def test_only_the_asked_share_of_people_is_blended(people, rng):
    """Of 4,000 people three in ten, within five standard errors; they have numbers of their own, the others do not."""
    vectors, shown, person = blends(people, rng, mixup=0.3)
    is_mixed = (vectors[..., 1] - vectors[..., 0].square()).abs().amax(1) > 1e-2
    blended = person[:, 0] >= len(people.image_of_pair)
    assert float(blended.float().mean()) == pytest.approx(0.3, abs=5 * (0.21 / 4000) ** 0.5)
    assert is_mixed.sum() > 0.9 * blended.sum()
    assert not (is_mixed & ~blended).any()
    assert len(person[blended, 0].unique()) == blended.sum()
    assert torch.equal(person[~blended] // 2, shown[~blended])


def test_a_missing_vector_is_not_blended_into_a_present_one(rng):
    """Who has a vector keeps it, and own pictures, beside somebody without one; who has none gets none."""
    user = np.arange(2).repeat(2)
    vectors = np.array([[1.0], [1.0], [5.0], [5.0]], dtype=np.float32)
    pairs = TrainingPairs.of(PICTURES, user, user, of_pair={"taste": vectors}, absent={"taste": user == 1})
    batch = pairs.draw(400, 2, rng=rng, mixup=1.0)
    present = batch.condition.masks["taste"]
    assert set(batch.condition.values["taste"][present].flatten().tolist()) == {1.0}
    assert 0 < present.sum() < 400
    assert torch.equal(bytes_of(batch.images)[present, 0, 0, 0].unique(), torch.tensor([PICTURES[0, 0, 0, 0]]))


def test_sets_are_those_of_the_picture_shown(rng):
    """There is nothing between two sets: a row has the one whose picture it shows."""
    user = np.arange(N_PEOPLE)
    pictures = np.repeat(np.arange(N_PEOPLE, dtype=np.uint8), 48).reshape(N_PEOPLE, 4, 4, 3)
    sets = np.broadcast_to(user[:, None, None], (N_PEOPLE, 2, 3)).astype(np.float32)
    pairs = TrainingPairs.of(pictures, user, user, of_pair={"likes": sets})
    batch = pairs.draw(400, 2, rng=rng, mixup=1.0)
    assert torch.equal(batch.condition.values["likes"][:, 0, 0].long(), bytes_of(batch.images)[:, 0, 0, 0])


def test_variants_keep_who_has_no_value():
    """A row without a vector has none in any variant; a variant of an unknown field is refused."""
    absent = {"taste": np.arange(6) < 2}
    fields = {"of_pair": {"taste": VECTORS}, "absent": absent}
    pairs = TrainingPairs.of(PICTURES, SHOWN, USERS, **fields, variants={"taste": np.stack([VECTORS, VECTORS])})
    assert torch.equal(pairs.of_pair.masks["taste"], torch.from_numpy(~absent["taste"]).repeat(3))
    with pytest.raises(DataError, match="variants of mood"):
        TrainingPairs.of(PICTURES, SHOWN, USERS, **fields, variants={"mood": np.stack([VECTORS])})


# --- the data set as a whole ------------------------------------------------------------------------------------------


def test_the_spread_is_that_of_present_values():
    """The deviation around each column's mean, averaged over columns; absent rows and empty fields do not count."""
    absent = {"taste": np.array([False] * 5 + [True]), "label": np.ones(6, dtype=bool)}
    vectors = VECTORS.copy()
    vectors[5] = 1e6
    fields = {"of_pair": {"taste": vectors}, "of_image": {"label": np.eye(6, dtype=np.float32)}}
    spread = TrainingPairs.of(PICTURES, SHOWN, USERS, absent=absent, **fields).spread()
    assert spread == {"taste": pytest.approx(VECTORS[:5].std(0, ddof=1).mean()), "label": 0.0}


def test_pairs_move_as_a_whole(behaviour, rng):
    """On another device every part is there, behaviour included, and the one it came from is as it was."""
    pairs = TrainingPairs.of(PICTURES, SHOWN, USERS, of_pair={"taste": VECTORS}, behaviour=behaviour)
    moved = pairs.to(torch.device("meta"))
    tensors = [*vars(moved).values(), *vars(moved.behaviour).values(), *moved.of_pair.values.values()]
    assert {x.device.type for x in tensors if isinstance(x, torch.Tensor)} == {"meta"}
    assert (moved.behaviour.name, moved.behaviour.longest) == ("behaviour", 3)
    assert pairs.device.type == "cpu"
    assert same(
        pairs.to(torch.device("cpu")).draw(6, 2, rng=rng), pairs.draw(6, 2, rng=torch.Generator().manual_seed(0))
    )


def test_the_digest_names_the_content(behaviour):
    """The same pairs have the same digest; another picture, user, value, mask, name, event or longest has another."""

    def digest(images=PICTURES, shown=SHOWN, users=USERS, name="taste", vectors=VECTORS, **more):
        return TrainingPairs.of(images, shown, users, of_pair={name: vectors}, **more).digest()

    events = dataclasses.replace(behaviour, weight_of_event=behaviour.weight_of_event + 1)
    others = [
        digest(images=PICTURES[::-1].copy()),
        digest(shown=SHOWN[::-1].copy()),
        digest(users=np.array([0, 0, 3, 3, 7, 7])),
        digest(vectors=VECTORS + 1),
        digest(name="text"),
        digest(absent={"taste": USERS == 0}),
        digest(of_image={"label": np.eye(6, dtype=np.float32)}),
        digest(behaviour=behaviour),
        digest(behaviour=events),
        digest(behaviour=dataclasses.replace(behaviour, longest=2)),
        digest(behaviour=dataclasses.replace(behaviour, name="seen")),
    ]
    assert digest() == digest()
    assert digest(behaviour=behaviour) == digest(behaviour=dataclasses.replace(behaviour))
    assert len({digest(), *others}) == 1 + len(others)
