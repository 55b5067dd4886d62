"""A floor under the distance of one person's images: the later one is drawn again, by a seed that its row tells."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from personalgen.conditions import ConditionSpec
from personalgen.embeddings import PreferenceTable
from personalgen.errors import OptionsError
from personalgen.generation.apart import distances, draw_apart, seed_of
from personalgen.generation.encoders import choose_encoder, decode
from personalgen.generation.options import MAX_VARIANTS, Floor, GenerationOptions
from personalgen.generation.plan import make_plan
from personalgen.generation.roots import LocalRoot
from personalgen.generation.run import GenerationRequest, generate_plan
from personalgen.generation.sampler import Sampler
from personalgen.generation.shards import read_member
from personalgen.models import ModelOptions, build_generator
from personalgen.seeding import derive_seed

N_USERS, VARIANTS = 7, 3


@pytest.fixture(scope="module")
def sampler():
    """Return a sampler of small images that differ with z, six in a batch."""
    torch.manual_seed(0)
    generator = build_generator(ModelOptions(8, 4, 8, 8, 16), ConditionSpec.vector("preference", 3))
    for parameter in generator.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return Sampler(generator, batch_size=6)


@pytest.fixture(scope="module")
def preferences():
    """Return seven users' vectors."""
    vectors = np.random.default_rng(0).standard_normal((N_USERS, 3)).astype(np.float32)
    ids = tuple(f"u{k}" for k in range(N_USERS))
    return PreferenceTable(ids, vectors, np.ones(N_USERS, np.int32), ("[]",) * N_USERS, "b1")


@pytest.fixture(scope="module")
def median(sampler, preferences, tmp_path_factory):
    """Return the median distance of a user's images to the nearest earlier one, as they are drawn."""
    images, _ = made(sampler, preferences, tmp_path_factory.mktemp("plain"), floor=None)
    return float(np.median(list(nearest(images).values())))


def made(sampler, preferences, root, *, floor, variants=VARIANTS, shard_size=3, encoder="png/zlib", commit=None):
    """Generate for everybody; return pixels and seed of each (user key, variant)."""
    current = np.full(preferences.vectors.shape, np.nan)
    keys = np.arange(1, N_USERS + 1)
    plan = make_plan(keys, preferences.user_ids, tonight=preferences.vectors, current=current, min_shift=0.0)
    request = GenerationRequest(plan, lambda rows, _: preferences.rows(rows), 1, variants, floor)
    images, seeds = {}, {}

    def keep(shard, rows):
        for row in rows:
            place = {"offset": row.shard_offset, "byte_length": row.byte_length, "crc32": row.crc32}
            images[row.user_key, row.variant] = decode(read_member(LocalRoot(root), shard.path, **place))
            seeds[row.user_key, row.variant] = row.seed
        if commit is not None:
            commit(shard, rows)

    generate_plan(
        request, sampler=sampler, encoder=choose_encoder(encoder), root=LocalRoot(root), night_id=1,
        shard_size=shard_size, commit=keep,
    )  # fmt: skip
    return images, seeds


def nearest(images):
    """Return the distance of each further image to the nearest earlier one of its user."""
    return {
        (user, variant): min(
            float(distances(image[None], images[user, earlier][None])[0]) for earlier in range(variant)
        )
        for (user, variant), image in images.items()
        if variant
    }


@pytest.mark.parametrize("encoder", ["png/zlib", "webp/pillow"])
def test_images_of_a_user_are_apart(sampler, preferences, median, tmp_path, encoder):
    """What stood too near is drawn again by a later seed of its own; what did not is as it was."""
    plain, first = made(sampler, preferences, tmp_path / "a", floor=None, encoder=encoder)
    apart, seeds = made(sampler, preferences, tmp_path / "b", floor=Floor(median, 40), encoder=encoder)
    assert min(nearest(plain).values()) < median <= min(nearest(apart).values())
    kept = [key for key in plain if seeds[key] == first[key]]
    assert N_USERS < len(kept) < len(plain)
    for user, variant in plain:
        attempts = [seed_of(f"u{user - 1}", variant, attempt) for attempt in range(41)]
        assert seeds[user, variant] in attempts
        assert variant or seeds[user, variant] == attempts[0] == derive_seed(f"u{user - 1}", 0)


def test_the_row_tells_how_to_draw_the_image_again(sampler, preferences, median, tmp_path):
    """An image stays a function of generator, condition, operating point and the seed in its row."""
    images, seeds = made(sampler, preferences, tmp_path, floor=Floor(median, 40))
    condition = preferences.to_condition(sampler.generator.spec)
    for (user, variant), image in images.items():
        assert (sampler.sample(condition.take([user - 1]), [seeds[user, variant]])[0] == image).all()


def test_neither_shards_nor_later_variants_decide(sampler, preferences, median, tmp_path):
    """Other shards, and one variant less, give each image the same seed."""
    _, expected = made(sampler, preferences, tmp_path / "a", floor=Floor(median, 8))
    _, other = made(sampler, preferences, tmp_path / "b", floor=Floor(median, 8), shard_size=5)
    _, fewer = made(sampler, preferences, tmp_path / "c", floor=Floor(median, 8), variants=2)
    assert other == expected
    assert fewer == {key: seed for key, seed in expected.items() if key[1] < 2}


def test_a_night_that_was_cut_goes_on_with_the_same_images(sampler, preferences, median, tmp_path):
    """Cut while a shard is committed, the next run takes up what was sealed and draws the rest as before."""
    floor, calls = Floor(median, 8), []
    expected = made(sampler, preferences, tmp_path / "a", floor=floor)

    def dying(*_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(sampler, preferences, tmp_path / "b", floor=floor, commit=dying)
    images, seeds = made(sampler, preferences, tmp_path / "b", floor=floor)
    assert seeds == expected[1]
    assert all((images[key] == image).all() for key, image in expected[0].items())
    assert len(list((tmp_path / "b").rglob("*.tar"))) == 3


def test_where_no_try_is_far_enough_the_farthest_stands(sampler, preferences, tmp_path):
    """A floor that nothing reaches ends after its tries; the farthest of all tries is kept."""
    condition, seeds = preferences.to_condition(sampler.generator.spec).take([0, 0]), [seed_of("u0", k) for k in (0, 1)]
    ((images,),) = [[one.images() for one in draw_apart(sampler, condition, ("u0", "u0"), seeds, 2, Floor(1.0, 5))]]
    tries = [seed_of("u0", 1, attempt) for attempt in range(6)]
    candidates = sampler.sample(condition.take([0] * 6), tries)
    far = distances(candidates, np.repeat(images[:1], 6, axis=0))
    assert seeds[1] == tries[int(far.argmax())]


def test_attempts_share_no_seed_with_other_images():
    """A later attempt of one variant is no attempt of another one."""
    seeds = {seed_of("ada", variant, attempt) for variant in range(MAX_VARIANTS) for attempt in range(5)}
    assert len(seeds) == 5 * MAX_VARIANTS


def test_the_floor_is_off_unless_it_can_do_something():
    """Without a distance, tries or a second image there is none; a distance above 1 is refused."""
    on = GenerationOptions(variants=2, min_distance=0.05)
    assert on.floor == Floor(0.05, 4)
    for change in ({"min_distance": 0.0}, {"redraws": 0}, {"variants": 1}):
        assert replace(on, **change).floor is None
    with pytest.raises(OptionsError, match=r"min_distance must be in \[0, 1\]"):
        replace(on, min_distance=1.5)
