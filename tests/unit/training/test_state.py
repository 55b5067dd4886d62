import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from personalgen.errors import ArtifactError
from personalgen.models import load_generator, save_generator
from personalgen.training import Job, save_companions, start_from
from personalgen.training.checkpoints import DAMAGED
from personalgen.training.state import (
    CHECKPOINT,
    COMPANIONS,
    broken_parts,
    load_checkpoint,
    new_state,
    save_checkpoint,
)

CPU = torch.device("cpu")


@pytest.fixture
def fresh(pairs, model, spec, options):
    """Return a function that makes a fresh state, of other options where asked, each as if of the same training."""

    def make(seed=0, feature_weight=0.0, contrast_weight=0.0, **changes):
        own = dataclasses.replace(options, seed=seed, feature_weight=feature_weight, contrast_weight=contrast_weight)
        state = new_state(Job(pairs, spec, dataclasses.replace(model, **changes), own), device=CPU)
        state.identity = {"pairs": "the same"}
        return state

    return make


@pytest.fixture
def trained(fresh):
    """Return a state after one step of each optimizer."""
    return after_a_step(fresh(seed=1))


def after_a_step(state):
    """Return the state after one step of each optimizer."""
    for net in state.nets.values():
        sum(weight.square().sum() for weight in net.parameters() if weight.requires_grad).backward()
    for optimizer in state.optimizers.values():
        optimizer.step()
    state.seen_img, state.start_kimg, state.rollbacks = 640, 2.5, 2
    return state


def tensors(state):
    """Return every tensor of the nets and optimizers of a state."""
    moments = [
        value
        for optimizer in state.optimizers.values()
        for weight in optimizer.param_groups[0]["params"]
        for _, value in sorted(optimizer.state[weight].items())
    ]
    return [value for net in (*state.nets.values(), state.average) for value in net.state_dict().values()] + moments


def equal(one, other):
    """Return whether two nets hold the same weights."""
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_new_state_depends_on_the_seed_alone(fresh):
    """Whatever was drawn before, one seed gives one pair of nets; the average starts as the generator.

    The global state of torch is as before.
    """
    before = torch.get_rng_state()
    one = fresh(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(100)
    other = fresh(seed=3)
    assert equal(one.generator, other.generator)
    assert equal(one.nets["discriminator"], other.nets["discriminator"])
    assert equal(one.average, one.generator)
    assert not equal(one.generator, fresh(seed=4).generator)


def test_a_checkpoint_holds_everything(tmp_path, trained, fresh):
    """Nets, average, both optimizers, clock, rollbacks and random state come back bit for bit."""
    torch.rand(3, generator=trained.rng)
    save_checkpoint(tmp_path, trained)
    drawn = torch.rand(5, generator=trained.rng)
    state, before = fresh(), torch.get_rng_state()
    assert load_checkpoint(tmp_path, state)
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(trained), strict=True))
    assert (state.seen_img, state.start_kimg, state.rollbacks) == (640, 2.5, 2)
    assert torch.equal(torch.rand(5, generator=state.rng), drawn)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_checkpoint_before_the_first_step_can_be_gone_on_from(tmp_path, fresh):
    """Into a fresh state and into one that has learned since: it is what a first rollback returns to."""
    save_checkpoint(tmp_path, fresh(seed=1))
    for state in (fresh(), after_a_step(fresh(seed=1))):
        assert load_checkpoint(tmp_path, state)
        assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(fresh(seed=1)), strict=True))
        assert (state.seen_img, state.rollbacks) == (0, 0)


FAMILIES = {
    "r3gan": {"generator": ["generator"], "opponents": ["discriminator", "feature_discriminator", "contrast"]},
    "dcgan": {"generator": ["generator"], "opponents": ["discriminator", "feature_discriminator", "contrast"]},
    "dense_gan": {"generator": ["generator"], "opponents": ["discriminator", "feature_discriminator", "contrast"]},
    "vae": {"generator": ["generator", "image_encoder"]},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_net_has_one_optimizer(fresh, family):
    """A VAE's encoder learns with its generator, opponents by themselves; what does not learn is in neither."""
    state = fresh(family=family, feature_weight=1.0, contrast_weight=1.0)
    assert list(state.nets) == [name for names in FAMILIES[family].values() for name in names]
    assert state.optimizers.keys() == FAMILIES[family].keys()
    for part, names in FAMILIES[family].items():
        moved = state.optimizers[part].param_groups[0]["params"]
        learning = [w for name in names for w in state.nets[name].parameters() if w.requires_grad]
        assert [id(w) for w in moved] == [id(w) for w in learning]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_holds_every_family(tmp_path, fresh, family):
    """All nets with their buffers, contrast included, come back bit for bit."""
    changes = {"family": family, "contrast_weight": 1.0}
    trained = after_a_step(fresh(seed=1, **changes))
    save_checkpoint(tmp_path, trained)
    state = fresh(**changes)
    assert load_checkpoint(tmp_path, state)
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(trained), strict=True))


def test_what_is_broken_is_named(fresh):
    """Nothing in a healthy state; a weight, an average or a moment that is not finite tells whose it is."""
    state = after_a_step(fresh())
    assert broken_parts(state) == []
    with torch.no_grad():
        state.nets["discriminator"].from_rgb.weight[0, 0, 0, 0] = float("nan")
        state.average.basis[0] = float("inf")
    moments = state.optimizers["generator"].state[state.generator.basis]
    moments["exp_avg_sq"].fill_(float("inf"))
    assert broken_parts(state) == ["average", "discriminator", "generator_optimizer"]


def test_no_checkpoint_is_no_error(tmp_path, fresh):
    """A first training finds none, and its state is untouched."""
    state = fresh()
    assert not load_checkpoint(tmp_path, state)
    assert equal(state.generator, fresh().generator)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"resolution": 16}, id="resolution"),
        pytest.param({"feature_weight": 1.0}, id="feature discriminator"),
        pytest.param({"contrast_weight": 1.0}, id="contrast"),
        pytest.param({"family": "vae"}, id="family"),
        pytest.param({"width": 4, "max_width": 4}, id="width"),
        pytest.param({"z_dim": 7}, id="z_dim"),
    ],
)
def test_a_checkpoint_of_other_nets_is_refused(tmp_path, trained, fresh, change):
    """Other names or other shapes are an ArtifactError that names the file and the way out."""
    save_checkpoint(tmp_path, trained)
    with pytest.raises(
        ArtifactError,
        match=r"checkpoint\.safetensors belongs to nets of another shape: \S+ is .* there and .* here.*delete it",
    ):
        load_checkpoint(tmp_path, fresh(**change))


def test_a_refused_checkpoint_changes_nothing(tmp_path, trained, fresh):
    """Nothing is half loaded: weights and random state are as before."""
    save_checkpoint(tmp_path, trained)
    state = fresh(z_dim=7)
    before, rng = [value.clone() for value in state.generator.state_dict().values()], state.rng.get_state()
    with pytest.raises(ArtifactError):
        load_checkpoint(tmp_path, state)
    assert all(torch.equal(a, b) for a, b in zip(before, state.generator.state_dict().values(), strict=True))
    assert torch.equal(state.rng.get_state(), rng)


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_a_damaged_checkpoint_is_set_aside(tmp_path, trained, fresh, keep, caplog):
    """An empty or cut file is said aloud and kept beside; the state stays as it was."""
    path = save_checkpoint(tmp_path, trained)
    path.write_bytes(path.read_bytes()[:keep])
    state = fresh()
    before = fresh().generator
    assert load_checkpoint(tmp_path, state) is False
    assert "cannot be read" in caplog.text
    assert "the training begins anew" in caplog.text
    assert [found.name for found in tmp_path.iterdir()] == [CHECKPOINT + DAMAGED]
    assert equal(state.generator, before)


def test_a_killed_save_leaves_the_last_checkpoint(tmp_path, trained, fresh, monkeypatch):
    """A failure while writing leaves the file of before and nothing beside it."""
    before = save_checkpoint(tmp_path, trained).read_bytes()
    trained.seen_img += 8
    monkeypatch.setattr("personalgen.training.checkpoints.save_file", disk_full)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, trained)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def disk_full(tensors, path, metadata=None):
    """Write half a file and fail."""
    path.write_bytes(b"half")
    raise OSError(28, "disk full")


@pytest.fixture
def model_folder(tmp_path, trained):
    """Return a folder with a trained generator and its discriminators."""
    save_checkpoint(tmp_path / "run", trained)
    save_generator(tmp_path / "model", trained.average, basis_version="b", trained_kimg=3.5)
    save_companions(tmp_path / "model", tmp_path / "run")
    return tmp_path / "model"


def test_a_warm_start_copies_both_players(model_folder, trained, fresh):
    """Generator and average start from the saved average, the discriminator from its own; images go on counting."""
    state = fresh()
    start_from(model_folder, state)
    assert equal(state.generator, trained.average)
    assert equal(state.average, trained.average)
    assert equal(state.nets["discriminator"], trained.nets["discriminator"])
    assert (state.start_kimg, state.seen_img) == (3.5, 0)


def test_half_precision_is_close_enough_to_start_from(tmp_path, trained, fresh):
    """Discriminators stored as float16 take half the room and come back within rounding, as float32."""
    save_checkpoint(tmp_path / "run", trained)
    save_generator(tmp_path, trained.average, basis_version="b", trained_kimg=0.0)
    whole = save_companions(tmp_path / "whole", tmp_path / "run").stat().st_size
    half = save_companions(tmp_path, tmp_path / "run", half=True).stat().st_size
    assert half < 0.7 * whole
    state = fresh()
    start_from(tmp_path, state)
    for one, other in zip(
        state.nets["discriminator"].parameters(), trained.nets["discriminator"].parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_missing_discriminator_starts_fresh(model_folder, trained, fresh):
    """A folder with a generator only is a start of one player."""
    (model_folder / COMPANIONS).unlink()
    state = fresh()
    start_from(model_folder, state)
    assert equal(state.generator, trained.average)
    assert equal(state.nets["discriminator"], fresh().nets["discriminator"])


def test_a_feature_discriminator_joins_and_leaves(tmp_path, fresh):
    """It is saved with the other and found again; where the folder has none it starts fresh."""
    with_features, fresh_one = fresh(seed=1, feature_weight=1.0), fresh(feature_weight=1.0)
    save_checkpoint(tmp_path / "run", with_features)
    save_generator(tmp_path, with_features.average, basis_version="b", trained_kimg=0.0)
    save_companions(tmp_path, tmp_path / "run")
    state = fresh(feature_weight=1.0)
    start_from(tmp_path, state)
    assert equal(state.nets["feature_discriminator"], with_features.nets["feature_discriminator"])
    assert equal(state.nets["discriminator"], with_features.nets["discriminator"])
    path = tmp_path / COMPANIONS
    save_file({k: v for k, v in load_file(path).items() if not k.startswith("feature_")}, path)
    state = fresh(feature_weight=1.0)
    start_from(tmp_path, state)
    assert equal(state.nets["feature_discriminator"], fresh_one.nets["feature_discriminator"])
    start_from(tmp_path, fresh())


def test_a_larger_net_takes_over_the_stages_of_a_smaller_one(model_folder, trained, fresh):
    """Growing: everything up to 8 px comes from the smaller model, the stage for 16 px starts fresh."""
    state, untouched = fresh(resolution=16), fresh(resolution=16)
    start_from(model_folder, state)
    for net in (state.generator, state.average):
        assert equal(net.stages["px8"], trained.average.stages["px8"])
        assert equal(net.encoder, trained.average.encoder)
        assert equal(net.stages["px16"], untouched.generator.stages["px16"])
        assert torch.equal(net.basis, trained.average.basis)
    assert equal(state.nets["discriminator"].stages["px8"], trained.nets["discriminator"].stages["px8"])
    assert equal(state.nets["discriminator"].stages["px16"], untouched.nets["discriminator"].stages["px16"])


@pytest.mark.parametrize("changes", [{"family": "vae"}, {"contrast_weight": 1.0}], ids=["vae", "contrast"])
def test_all_that_learns_beside_a_generator_goes_on(tmp_path, fresh, changes):
    """A VAE's encoder and the contrast's come along: a generator would have to wait for fresh ones."""
    trained = after_a_step(fresh(seed=1, **changes))
    save_checkpoint(tmp_path / "run", trained)
    save_generator(tmp_path / "model", trained.average, basis_version="b", trained_kimg=3.5)
    save_companions(tmp_path / "model", tmp_path / "run")
    state = fresh(**changes)
    start_from(tmp_path / "model", state)
    assert equal(state.generator, trained.average)
    for name in state.nets.keys() - {"generator"}:
        assert equal(state.nets[name], trained.nets[name]), name


def test_counts_stay_counts_in_half_precision(tmp_path, fresh):
    """DCGAN's normalisation counts batches in whole numbers, which float16 cannot hold."""
    trained = fresh(family="dcgan")
    buffers = {key: value for key, value in trained.average.state_dict().items() if value.dtype == torch.int64}
    for value in buffers.values():
        value.fill_(70_001)
    save_generator(tmp_path, trained.average, basis_version="b", trained_kimg=0.0, half=True)
    found = load_generator(tmp_path)[0].state_dict()
    assert buffers
    assert {int(found[key]) for key in buffers} == {70_001}


def test_starting_from_changed_weights_is_refused(model_folder, fresh):
    """A warm start checks the digest as every reader does."""
    path = model_folder / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ArtifactError, match="changed after it was written"):
        start_from(model_folder, fresh())
