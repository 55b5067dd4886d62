"""A tiny GAN, a few steps: the loop as a whole, its interruptions, and its first losses as they have always been."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from personalgen.conditions import Condition, ConditionSpec
from personalgen.errors import ArtifactError, ConfigError, TrainingError
from personalgen.models import ModelOptions, build_discriminator, save_generator
from personalgen.training import TrainingOptions, TrainingPairs, save_discriminators, start_from, train
from personalgen.training.losses import judge, relativistic_d_loss
from personalgen.training.state import CHECKPOINT

SPEC = ConditionSpec.vector("taste", 5)
MODEL = ModelOptions(resolution=8, z_dim=6, style_dim=16, width=8, max_width=8, discriminator_width=8, group_size=2)
# Every option that decides a result, so that new defaults leave these tests alone.
FOUR_STEPS = TrainingOptions(
    max_kimg=0.032,
    batch_size=8,
    device="cpu",
    precision="fp32",
    threads=1,
    learning_rate=1e-3,
    final_learning_rate=5e-4,
    warmup_kimg=0.016,
    r1_gamma=1.0,
    final_r1_gamma=0.5,
    feature_weight=0.0,
    mismatch_weight=0.2,
    candidates=0,
    condition_dropout=0.1,
    condition_jitter=0.1,
    augment=0.5,
    flip=True,
    ema_kimg=0.1,
    snapshot_kimg=0.008,
    seed=3,
)
A_MOMENT = dataclasses.replace(FOUR_STEPS, max_minutes=1e-9)
"""Time for exactly one step."""


@pytest.fixture(scope="module")
def pairs():
    """Return 20 pairs of four users over six pictures."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    vectors = rng.normal(size=(20, 5)).astype(np.float32)
    return TrainingPairs.of(images, rng.integers(0, 6, 20), vectors, np.repeat(np.arange(4), 5))


@pytest.fixture
def run(pairs):
    """Return a function that trains in a folder, in four steps where nothing else is asked for."""

    def run(folder, options=FOUR_STEPS, model=MODEL, **callbacks):
        return train(pairs, SPEC, model, options, folder=folder, **callbacks)

    return run


def checkpoint(folder):
    """Return everything that a checkpoint holds: nets, average, optimizers and random state."""
    return load_file(folder / CHECKPOINT)


def equal(one, other):
    """Return whether two sets of named tensors are the same, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Killed(BaseException):
    """What a kill looks like to the loop."""


def killed_after(count):
    """Return a progress callback that ends the process after so many steps."""
    steps = []

    def progress(_done, _total):
        steps.append(1)
        if len(steps) == count:
            raise Killed

    return progress


@pytest.mark.parametrize("candidates", [0, 3])
def test_resuming_equals_no_interruption(tmp_path, run, candidates):
    """Four steps in one go are four times one step: weights, average, moments and random state, bit for bit."""
    whole = run(tmp_path / "whole", dataclasses.replace(FOUR_STEPS, candidates=candidates))
    parts = [run(tmp_path / "parts", dataclasses.replace(A_MOMENT, candidates=candidates)) for _ in range(4)]
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    assert equal(whole.generator.state_dict(), parts[-1].generator.state_dict())
    assert [part.finished for part in parts] == [False, False, False, True]
    assert [part.trained_kimg for part in parts] == pytest.approx([0.008, 0.016, 0.024, 0.032])


def test_a_kill_costs_the_steps_since_the_last_checkpoint_only(tmp_path, run):
    """Killed between two checkpoints, training goes on from the older one and ends as if nothing had happened."""
    options = dataclasses.replace(FOUR_STEPS, snapshot_kimg=0.016)
    run(tmp_path / "whole", options)
    with pytest.raises(Killed):
        run(tmp_path / "killed", options, progress=killed_after(3))
    assert checkpoint(tmp_path / "killed").keys() == checkpoint(tmp_path / "whole").keys()
    seen = []
    run(tmp_path / "killed", options, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(24, 32), (32, 32)]
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "killed"))


def test_a_kill_before_the_first_checkpoint_starts_again(tmp_path, run):
    """Nothing was kept, nothing is half there, and the result is the same."""
    with pytest.raises(Killed):
        run(tmp_path / "killed", progress=killed_after(1))
    assert not (tmp_path / "killed" / CHECKPOINT).exists()
    run(tmp_path / "killed")
    run(tmp_path / "whole")
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "killed"))


def test_what_happens_to_the_random_state_between_snapshots_does_not_matter(tmp_path, run):
    """A snapshot callback that only looks leaves the result as it is."""
    run(tmp_path / "plain")
    run(tmp_path / "looked", on_snapshot=lambda average, _: {"sum": float(average.basis.sum())})
    assert equal(checkpoint(tmp_path / "plain"), checkpoint(tmp_path / "looked"))


def test_a_finished_training_is_returned_as_it_stands(tmp_path, run):
    """Calling again takes no step and gives the same generator."""
    first = run(tmp_path)
    steps = []
    again = run(tmp_path, progress=lambda *_: steps.append(1))
    assert steps == []
    assert again.finished
    assert equal(first.generator.state_dict(), again.generator.state_dict())


def test_the_seed_decides_the_result(tmp_path, run):
    """Two runs of one seed agree bit for bit, whatever was drawn before; another seed differs."""
    run(tmp_path / "a")
    torch.manual_seed(999)
    run(tmp_path / "b")
    run(tmp_path / "c", dataclasses.replace(FOUR_STEPS, seed=4))
    assert equal(checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b"))
    assert not equal(checkpoint(tmp_path / "a"), checkpoint(tmp_path / "c"))


def test_time_is_up_cleanly(tmp_path, run):
    """`max_minutes` ends with a checkpoint, a snapshot and finished=False."""
    snapshots, rarely = [], dataclasses.replace(A_MOMENT, snapshot_kimg=1.0)
    result = run(tmp_path, rarely, on_snapshot=lambda _, kimg: snapshots.append(kimg) or {})
    assert not result.finished
    assert snapshots == pytest.approx([0.008])
    assert (tmp_path / CHECKPOINT).exists()


def test_the_result_is_the_average_ready_to_use(tmp_path, run):
    """In evaluation mode, without gradients, and neither the last nor the first weights."""
    result = run(tmp_path)
    saved = checkpoint(tmp_path)
    assert not result.generator.training
    assert torch.equal(result.generator.basis, saved["average.basis"])
    assert not torch.equal(result.generator.basis, saved["generator.basis"])
    with torch.inference_mode():
        images = result.generator(torch.randn(2, 6), SPEC.null_condition(2))
    assert torch.isfinite(images).all()


def test_metrics_are_logged_at_each_snapshot(tmp_path, run):
    """`log` gets the losses beside what the snapshot returned, with the images seen; speed is among them."""
    logged = []
    options = dataclasses.replace(FOUR_STEPS, snapshot_kimg=0.016)
    run(tmp_path, options, on_snapshot=lambda *_: {"kid": 1.5}, log=lambda *given: logged.append(given))
    assert [seen for _, seen in logged] == [16, 32]
    for metrics, _ in logged:
        assert metrics["kid"] == 1.5
        assert {"loss_d", "loss_g", "r1_plus_r2", "img_per_sec"} <= set(metrics)


def test_first_losses_are_as_they_have_always_been(tmp_path, run):
    """Golden values of four steps from a fixed seed: they change with the nets, the losses or the order of draws only.

    After a change that is meant to change them, copy the new ones from the failure.
    """
    logged = []
    run(tmp_path, log=lambda metrics, _: logged.append(metrics))
    found = {name: [metrics[name] for metrics in logged] for name in GOLDEN}
    assert found == {name: pytest.approx(values, rel=2e-3, abs=2e-4) for name, values in GOLDEN.items()}


GOLDEN = {
    "loss_d": [0.7481, 0.7293, 0.7706, 0.7539],
    "loss_g": [0.6459, 0.6681, 0.6297, 0.639],
    "loss_mismatch": [0.6901, 0.6825, 0.6899, 0.6972],
    "r1_plus_r2": [0.1516, 0.1693, 0.1219, 0.1804],
}


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path, run, pairs):
    """The error names the losses and what to do; the checkpoint of before is byte for byte what it was."""
    run(tmp_path, A_MOMENT)
    before = (tmp_path / CHECKPOINT).read_bytes()
    poisoned = dataclasses.replace(pairs, vectors=torch.full_like(pairs.vectors, float("nan")))
    with pytest.raises(TrainingError) as caught:
        train(poisoned, SPEC, MODEL, FOUR_STEPS, folder=tmp_path)
    message = str(caught.value)
    assert "loss_d" in message
    assert "not finite" in message
    assert "lower train.learning_rate" in message
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    run(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path, run):
    """Training a 16 px model where an 8 px one lies is an ArtifactError, and the checkpoint stays."""
    run(tmp_path, A_MOMENT)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ArtifactError, match="belongs to nets of another shape"):
        run(tmp_path, model=dataclasses.replace(MODEL, resolution=16))
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_batch_that_groups_do_not_divide_is_refused(tmp_path, run):
    """The first step says which two settings do not fit; nothing is written."""
    with pytest.raises(ConfigError, match=r"train: batch_size must be a multiple .* found 9"):
        run(tmp_path, dataclasses.replace(FOUR_STEPS, batch_size=9))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def start(tmp_path, run):
    """Return the folder of a model that was trained for four steps."""
    result = run(tmp_path / "first")
    save_generator(tmp_path / "model", result.generator, basis_version="b", trained_kimg=result.trained_kimg)
    save_discriminators(tmp_path / "model", tmp_path / "first")
    return tmp_path / "model"


def test_a_warm_start_goes_on_from_a_trained_model(tmp_path, run, start):
    """The first average is the saved one but for one step, and the images of before are counted."""
    other_seed = dataclasses.replace(A_MOMENT, seed=9)
    warm = run(tmp_path / "warm", other_seed, warm_start=lambda state: start_from(start, state))
    cold = run(tmp_path / "cold", other_seed)
    saved = checkpoint(tmp_path / "first")["average.basis"]
    assert warm.trained_kimg == pytest.approx(0.040)
    assert (warm.generator.basis - saved).norm() < 0.01 * (cold.generator.basis - saved).norm()


def test_a_resumed_training_is_not_started_anew(tmp_path, run, start):
    """Where there is a checkpoint, the model to start from is not even opened."""
    run(tmp_path / "warm", A_MOMENT, warm_start=lambda state: start_from(start, state))
    result = run(tmp_path / "warm", warm_start=lambda _: pytest.fail("warm start after a checkpoint"))
    assert result.trained_kimg == pytest.approx(0.064)


def test_a_smaller_model_grows(tmp_path, run, start):
    """A 16 px model starts from an 8 px one, trains, and keeps what it took over in shape."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    large = TrainingPairs.of(pictures, np.arange(2), np.zeros((2, 5), dtype=np.float32), np.arange(2))
    model = dataclasses.replace(MODEL, resolution=16)
    result = train(
        large, SPEC, model, A_MOMENT, folder=tmp_path / "large", warm_start=lambda state: start_from(start, state)
    )
    saved = checkpoint(tmp_path / "first")["average.stages.px8.blocks.0.first.weight"]
    grown = result.generator.stages["px8"].blocks[0].first.weight
    assert (grown - saved).norm() < 0.05 * saved.norm()
    assert result.generator.resolution == 16
    assert result.trained_kimg == pytest.approx(0.040)


def test_frozen_features_resume_as_well(tmp_path, run):
    """With the second discriminator two steps are twice one step, bit for bit."""
    options = dataclasses.replace(FOUR_STEPS, max_kimg=0.016, feature_weight=1.0, feature_px=32)
    run(tmp_path / "whole", options)
    for _ in range(2):
        run(tmp_path / "parts", dataclasses.replace(options, max_minutes=1e-9))
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


def test_the_discriminators_loss_can_be_compiled():
    """Loss with R1 and R2 is one graph without breaks, backward included, and gives what eager gives.

    Traced by torch.compile with the backend aot_eager, which needs no C compiler.
    """
    torch.manual_seed(0)
    net, (real, fake), values = build_discriminator(MODEL, SPEC), torch.randn(2, 8, 3, 8, 8), torch.randn(8, 5)

    def loss(real, fake, values):
        condition = Condition.vector("taste", values)

        def discriminate(x):
            features = net.features(x)
            return net.score(features, condition), features

        on_real, on_fake = judge(discriminate, real), judge(discriminate, fake)
        return relativistic_d_loss(on_real.logits, on_fake.logits) + (on_real.penalty + on_fake.penalty).mean()

    found = []
    for function in (loss, torch.compile(loss, backend="aot_eager", fullgraph=True)):
        value = function(real, fake, values)
        found.append((value.detach(), torch.autograd.grad(value, list(net.parameters()), materialize_grads=True)))
    torch.testing.assert_close(*(value for value, _ in found))
    for one, other in zip(*(gradients for _, gradients in found), strict=True):
        torch.testing.assert_close(one, other)
