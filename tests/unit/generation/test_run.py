import dataclasses
import io
import tarfile
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from personalgen.conditions import ConditionSpec, FieldSpec
from personalgen.embeddings import FieldRows, PreferenceTable
from personalgen.embeddings.preference import NO_EVENTS, events_to_json
from personalgen.generation.encoders import choose_encoder
from personalgen.generation.options import OperatingPoint
from personalgen.generation.plan import condition_digest, condition_vector, make_plan
from personalgen.generation.roots import LocalRoot
from personalgen.generation.run import GenerationRequest, generate_plan
from personalgen.generation.safety import Screen, screened
from personalgen.generation.sampler import Sampler
from personalgen.generation.shards import read_member
from personalgen.models import ModelOptions, build_generator
from personalgen.seeding import derive_seed

DIM, DIGEST = 3, 4242


@pytest.fixture(scope="module")
def sampler():
    torch.manual_seed(0)
    generator = build_generator(ModelOptions(8, 4, 8, 8, 16), ConditionSpec.vector("preference", DIM))
    for parameter in generator.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Sampler(generator, batch_size=4)


def table(n=7, seed=0):
    rng = np.random.default_rng(seed)
    events = tuple(events_to_json([{"item_id": f"i{k}", "weight": 0.5, "timestamp": 10 + k}]) for k in range(n))
    vectors = rng.standard_normal((n, DIM)).astype(np.float32)
    return PreferenceTable(tuple(f"u{k}" for k in range(n)), vectors, np.arange(n, dtype=np.int32), events, "b1")


def request(preferences, *, variants=1, digest=DIGEST):
    n = len(preferences.user_ids)
    keys = np.arange(100 + n, 100, -1)  # keys fall while ids rise: rows of the plan are not rows of the table
    current = np.full((n, DIM), np.nan)
    plan = make_plan(keys, preferences.user_ids, tonight=preferences.vectors, current=current, min_shift=0.05)
    return GenerationRequest(plan=plan, told=told_of(preferences), generator_digest=digest, variants=variants)


def told_of(preferences):
    """Return the provider that tells the same of a user for each image."""
    return lambda rows, _variant: preferences.rows(rows)


def generate(asked, sampler, root, **options):
    commits = []
    summary = generate_plan(
        asked,
        sampler=sampler,
        encoder=options.pop("encoder", choose_encoder("png/zlib")),
        root=LocalRoot(root),
        night_id=42,
        shard_size=options.pop("shard_size", 3),
        commit=options.pop("commit", lambda shard, rows: commits.append((shard, rows))),
        **options,
    )
    return summary, commits


def pixels(root, shard, row):
    place = {"offset": row.shard_offset, "byte_length": row.byte_length, "crc32": row.crc32}
    data = read_member(LocalRoot(root), shard.path, **place)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def files_of(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_every_row_tells_how_to_draw_its_image_again(sampler, tmp_path):
    """An image is a function of generator, condition, operating point and seed: all four stand in its row."""
    preferences = table()
    _, commits = generate(request(preferences, variants=2), sampler, tmp_path)
    for shard, rows in commits:
        for row in rows:
            index = 107 - row.user_key
            user_id = preferences.user_ids[index]
            assert condition_vector(row.condition).tolist() == preferences.vectors[index].tolist()
            assert row.condition_digest == condition_digest(preferences.vectors[index])
            assert row.seed == derive_seed(user_id, row.variant)
            assert (row.generator_digest, row.operating_point_digest) == (DIGEST, OperatingPoint().digest())
            assert (row.n_events, row.top_events) == (index, preferences.top_events[index])
            assert row.score is None
            again = PreferenceTable((user_id,), condition_vector(row.condition)[None], [0], (NO_EVENTS,), "b1")
            drawn = sampler.sample(again.to_condition(sampler.generator.spec), [row.seed])
            assert np.array_equal(pixels(tmp_path, shard, row), drawn[0])


def test_shards_and_members_are_named_and_sorted(sampler, tmp_path):
    """Three shards of users by key, members by user and variant, at the place the catalogue expects."""
    summary, commits = generate(request(table(), variants=2), sampler, tmp_path)
    assert [shard.path for shard, _ in commits] == [f"shards/night=000042/00000{k}.tar" for k in range(3)]
    first = [row.member.removesuffix(".png") for row in commits[0][1]]
    assert first[:3] == ["000000000101-00", "000000000101-01", "000000000102-00"]
    keys = [(row.user_key, row.variant) for _, rows in commits for row in rows]
    assert keys == sorted(keys)
    assert (summary.n_assets, summary.n_shards, summary.n_reused_shards, summary.encoder) == (14, 3, 0, "png/zlib")
    assert summary.n_bytes == sum((tmp_path / shard.path).stat().st_size for shard, _ in commits)


def test_the_sidecar_holds_the_committed_rows(sampler, tmp_path):
    """Column by column what `commit` got; the events as JSON."""
    _, commits = generate(request(table()), sampler, tmp_path)
    shard, rows = commits[0]
    records = pq.read_table(tmp_path / shard.sidecar).to_pylist()
    assert [record["crc32"] for record in records] == [row.crc32 for row in rows]
    assert records[0]["top_events"] == '[{"item_id":"i6","timestamp":16,"weight":0.5}]'


def test_a_rerun_reuses_every_sealed_shard(sampler, tmp_path):
    """The same plan again draws nothing, changes no byte, and commits equal rows."""
    asked = request(table(), variants=2)
    _, first = generate(asked, sampler, tmp_path)
    before = files_of(tmp_path)
    summary, second = generate(asked, no_drawing(sampler), tmp_path)
    assert (summary.n_reused_shards, summary.n_assets) == (3, 14)
    assert second == first
    assert files_of(tmp_path) == before


def test_a_shard_keeps_the_name_of_what_encoded_it(sampler, tmp_path):
    """Taken up by a run with another encoder, its images are still those of the first; a later shard has its own."""
    asked = request(table())
    generate(asked, sampler, tmp_path)
    (tmp_path / "shards" / "night=000042" / "000002.tar").unlink()
    summary, commits = generate(asked, sampler, tmp_path, encoder=choose_encoder("jpeg95/pillow"))
    assert [rows.encoder for _, rows in commits] == ["png/zlib", "png/zlib", "jpeg95/pillow"]
    assert commits[2][1][0].member == "000000000107-00.jpg"
    assert summary.n_reused_shards == 2


def test_the_next_shard_is_drawn_while_one_is_committed(sampler, tmp_path):
    """At most one behind: the first commit lasts until the second shard is drawn, the third waits for the second."""
    drawn, committed, last = threading.Semaphore(0), [], []
    watched = Sampler(sampler.generator, batch_size=4)

    def start(condition, seeds):
        last.append(len(committed))
        drawn.release()
        return sampler.start(condition, seeds)

    def commit(shard, rows):
        if not committed:
            assert drawn.acquire(timeout=60)
            assert drawn.acquire(timeout=60)  # the batch of the second shard, before the first is committed
        committed.append(Path(shard.path).stem)

    watched.start = start
    generate(request(table()), watched, tmp_path, commit=commit)
    assert committed == ["000000", "000001", "000002"]
    assert last[:2] == [0, 0]
    assert last[2] >= 1


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
def test_an_error_of_the_writer_ends_the_run_as_it_is(sampler, tmp_path, error):
    """The very exception; what comes later is neither sealed nor committed."""
    seen = []

    def commit(shard, rows):
        seen.append(Path(shard.path).stem)
        raise error

    with pytest.raises(type(error)) as caught:
        generate(request(table()), sampler, tmp_path, commit=commit, shard_size=1)
    assert caught.value is error
    assert seen == ["000000"]
    assert [path.name for path in tmp_path.rglob("*.tar")] == ["000000.tar"]


def no_drawing(sampler):
    idle = Sampler(sampler.generator, batch_size=4)
    idle.start = None
    return idle


def test_an_interrupted_run_ends_as_an_uninterrupted_one(sampler, tmp_path):
    """Killed between sealing and committing the second shard, the rerun commits it unseen and fills in the rest."""
    asked = request(table())

    def failing(shard, rows):
        if "000001" in shard.path:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(asked, sampler, tmp_path / "a", commit=failing)
    summary, resumed = generate(asked, sampler, tmp_path / "a")
    _, whole = generate(asked, sampler, tmp_path / "b")
    assert (summary.n_shards, summary.n_reused_shards) == (3, 2)
    assert [rows for _, rows in resumed] == [rows for _, rows in whole]
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_batch_boundaries_do_not_reach_the_shards(sampler, tmp_path):
    """Other shard sizes cut elsewhere, but each user's image is the same."""
    asked = request(table())
    images = []
    for size in (2, 7):
        _, commits = generate(asked, sampler, tmp_path / str(size), shard_size=size)
        images.append(
            {
                row.user_key: pixels(tmp_path / str(size), shard, row).tobytes()
                for shard, rows in commits
                for row in rows
            }
        )
    assert images[0] == images[1]


@pytest.mark.parametrize("other", ["generator", "condition", "variants"])
def test_a_sealed_shard_with_other_images_is_kept_and_passed_by(sampler, tmp_path, other):
    """Whatever part of the key differs, the old bytes stay under their name and the new shard takes the next one."""
    generate(request(table()), sampler, tmp_path)
    before = files_of(tmp_path)
    asked = {
        "generator": lambda: request(table(), digest=DIGEST + 1),
        "condition": lambda: request(table(seed=1)),
        "variants": lambda: request(table(), variants=2),
    }[other]()
    for n_reused in (0, 3):
        summary, commits = generate(asked, sampler, tmp_path)
        assert [shard.path.rpartition("/")[2] for shard, _ in commits] == [
            "000000-2.tar",
            "000001-2.tar",
            "000002-2.tar",
        ]
        assert summary.n_reused_shards == n_reused
    assert files_of(tmp_path).items() >= before.items()


def test_a_damaged_sealed_shard_is_not_reused(sampler, tmp_path):
    """The digest is checked before old bytes are committed."""
    asked = request(table(2))
    _, [(shard, _)] = generate(asked, sampler, tmp_path)
    path = tmp_path / shard.path
    data = bytearray(path.read_bytes())
    data[600] ^= 255
    path.write_bytes(data)
    summary, [(again, _)] = generate(asked, sampler, tmp_path)
    assert (summary.n_reused_shards, again.path) == (0, "shards/night=000042/000000-2.tar")


def test_another_operating_point_makes_other_assets(sampler, tmp_path):
    """Guidance is part of the natural key."""
    asked = request(table(2))
    _, [(_, plain)] = generate(asked, sampler, tmp_path)
    guided = Sampler(sampler.generator, batch_size=4, operating_point=OperatingPoint(guidance=1.5))
    _, [(shard, rows)] = generate(asked, guided, tmp_path)
    assert shard.path.endswith("/000000-2.tar")
    assert {row.natural_key for row in rows}.isdisjoint(row.natural_key for row in plain)


def test_progress_counts_images_after_the_commit(sampler, tmp_path):
    """What is reported as done is sealed and committed; the start is told, so that a rate can be."""
    seen = []
    callables = {
        "commit": lambda shard, rows: seen.append(len(rows)),
        "progress": lambda done, total: seen.append((done, total)),
    }
    generate(request(table()), sampler, tmp_path, **callables)
    assert seen == [(0, 7), 3, (3, 7), 3, (6, 7), 1, (7, 7)]


def test_an_empty_plan_writes_nothing(sampler, tmp_path):
    """A night without changes leaves no trace."""
    asked = request(table())
    nobody = GenerationRequest(asked.plan.keep(np.zeros(7, dtype=bool)), asked.told, DIGEST)
    summary, commits = generate(nobody, sampler, tmp_path)
    assert (summary.n_assets, commits, files_of(tmp_path)) == (0, [], {})


MIXED = ConditionSpec(
    (
        FieldSpec("preference", "vector", DIM),
        FieldSpec("behaviour", "sequence", DIM + 2, longest=2),
        FieldSpec("labels", "label", 2, values=("a=1", "a=2")),
    )
)


@pytest.mark.parametrize("spec", [MIXED, ConditionSpec(())], ids=["mixed", "unconditional"])
def test_a_model_of_any_fields_is_drawn_from(spec, tmp_path):
    """Rows hold what the model was told of its user, all of it and nothing else; so does their digest."""
    torch.manual_seed(0)
    generator = build_generator(ModelOptions(8, 4, 8, 8, 16), spec)
    preferences, n = table(), 7
    rng = np.random.default_rng(3)
    mask = rng.random((n, 2)) < 0.5
    values = (rng.standard_normal((n, 2, DIM + 2)) * mask[..., None]).astype(np.float32)
    preferences = dataclasses.replace(preferences, fields={"behaviour": FieldRows(values, mask)})
    told = preferences.condition_rows(spec)
    keys, current = np.arange(n), np.full_like(told, np.nan)
    plan = make_plan(keys, preferences.user_ids, tonight=told, current=current, min_shift=0.05)
    assert (len(plan), plan.n_new) == (n, n)
    _, commits = generate(
        GenerationRequest(plan, told_of(preferences), DIGEST), Sampler(generator, batch_size=4), tmp_path
    )
    rows = [row for _, found in commits for row in found]
    assert [condition_vector(row.condition).tolist() for row in rows] == told.tolist()
    assert len({row.condition_digest for row in rows}) == (n if spec.fields else 1)
    for row, other in zip(rows, told, strict=True):
        assert row.condition_digest == condition_digest(other)


def test_refused_images_are_neither_in_the_tar_nor_in_the_rows(sampler, tmp_path):
    """They are told once a shard, also when an earlier attempt had sealed it, and a rerun draws nothing."""
    asked, screen = request(table(), variants=2), Screen(EveryThird(), 0.5)
    told = []
    encoder = screened(choose_encoder("png/zlib"), screen)
    summary, commits = generate(asked, sampler, tmp_path, encoder=encoder, on_refused=told.append)
    rows = {row.natural_key for _, kept in commits for row in kept}
    refused = {each.natural_key for found in told for each in found}
    assert (len(rows), len(refused), summary.n_assets, summary.n_refused) == (9, 5, 9, 5)
    assert rows.isdisjoint(refused)
    for shard, kept in commits:
        with tarfile.open(tmp_path / shard.path) as tar:
            assert tar.getnames() == [row.member for row in kept]
    before, again = files_of(tmp_path), []
    summary, second = generate(asked, no_drawing(sampler), tmp_path, encoder=encoder, on_refused=again.append)
    assert (second, again, summary.n_reused_shards, summary.n_refused) == (commits, told, 3, 5)
    assert files_of(tmp_path) == before


def test_a_shard_of_which_nothing_is_left_is_sealed_too(sampler, tmp_path):
    """An empty tar says that the shard was done."""
    encoder = screened(choose_encoder("png/zlib"), Screen(EveryThird(), 0.0))
    summary, commits = generate(request(table(3)), sampler, tmp_path, encoder=encoder)
    assert (summary.n_assets, summary.n_refused, [len(rows) for _, rows in commits]) == (0, 3, [0])


class EveryThird:
    """A filter that minds every third image that it is ever shown."""

    name, version = "third", "1"

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        numbers = np.arange(self.seen, self.seen + len(images))
        self.seen += len(images)
        return np.where(numbers % 3 == 0, 1.0, 0.0)
