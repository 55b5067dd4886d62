"""A tiny GAN, a few steps: the loop as a whole, its interruptions and returns, and its first losses as ever."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from personalgen.conditions import ConditionSpec, FieldSpec
from personalgen.errors import ArtifactError, ConfigError, TrainingError
from personalgen.models import ModelOptions, save_generator
from personalgen.models.options import FAMILIES
from personalgen.training import TrainingOptions, TrainingPairs, save_companions, start_from, train
from personalgen.training.dataset import Behaviour
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
    contrast_weight=0.0,
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


USERS = np.repeat(np.arange(4), 5)


def noise():
    """Return six pictures, the picture of each of 20 pairs, and a vector for each pair, all at random."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    vectors = rng.normal(size=(20, 5)).astype(np.float32)
    return images, rng.integers(0, 6, 20), vectors


@pytest.fixture(scope="module")
def pairs():
    """Return 20 pairs of four users over six pictures."""
    images, shown, vectors = noise()
    return TrainingPairs.of(images, shown, USERS, of_pair={"taste": vectors})


@pytest.fixture(scope="module")
def sequence_pairs():
    """Return the same pairs with what each user did before as sequences of up to three events."""
    images, shown, vectors = noise()
    behaviour = Behaviour(
        name="behaviour",
        longest=3,
        item_features=torch.from_numpy(vectors[:6, :2].copy()),
        item_of_event=torch.from_numpy(shown),
        weight_of_event=torch.ones(20),
        day_of_event=torch.arange(20.0),
        start_of_pair=torch.from_numpy(5 * USERS),
        stop_of_pair=torch.arange(20),
    )
    return TrainingPairs.of(images, shown, USERS, of_pair={"taste": vectors}, behaviour=behaviour)


@pytest.fixture
def run(pairs):
    """Return a function that trains in a folder, in four steps where nothing else is asked for."""

    def run(folder, options=FOUR_STEPS, model=MODEL, pairs=pairs, spec=SPEC, **callbacks):
        return train(pairs, spec, model, options, folder=folder, **callbacks)

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

    def progress(_done, _total, _note):
        steps.append(1)
        if len(steps) == count:
            raise Killed

    return progress


RESUMED = {family: {"model": {"family": family}} for family in FAMILIES} | {
    "candidates": {"candidates": 3},
    "mixup": {"user_mixup": 0.7},
    "lazy penalties": {"penalty_every": 3},
    "contrast": {"contrast_weight": 1.0, "wrong_fake_weight": 0.3, "loss": "nonsaturating"},
    "ramps": {"condition_ramp_kimg": 0.03, "augment_ramp_kimg": 0.03, "field_dropout": {"taste": 0.3}},
    "sequence": {"history_dropout": 0.3},
    "after a rollback": {"rollbacks": 1},
}


def killed_at(seen_img):
    """Return a log callback that ends the process once so many images were seen, before they are saved."""

    def log(_metrics, seen):
        if seen >= seen_img:
            raise Killed

    return log


@pytest.mark.parametrize("name", RESUMED)
def test_resuming_equals_no_interruption(tmp_path, run, sequence_pairs, name):
    """Four steps in one go are four times one step: weights, average, moments and random state, bit for bit."""
    changes = dict(RESUMED[name])
    given = {"model": dataclasses.replace(MODEL, **changes.pop("model", {}))}
    if rollbacks := changes.pop("rollbacks", 0):
        given["warm_start"] = lambda state: setattr(state, "rollbacks", rollbacks)
    if name == "sequence":
        fields = (FieldSpec("taste", "vector", 5), FieldSpec("behaviour", "sequence", 4, longest=3))
        given |= {"pairs": sequence_pairs, "spec": ConditionSpec(fields)}
    whole = run(tmp_path / "whole", dataclasses.replace(FOUR_STEPS, **changes), **given)
    parts = [run(tmp_path / "parts", dataclasses.replace(A_MOMENT, **changes), **given) for _ in range(4)]
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    assert equal(whole.generator.state_dict(), parts[-1].generator.state_dict())
    assert [part.finished for part in parts] == [False, False, False, True]
    assert [part.trained_kimg for part in parts] == pytest.approx([0.008, 0.016, 0.024, 0.032])


def test_two_and_two_steps_are_four(tmp_path, run):
    """A training that is stopped between two snapshots of many steps goes on as if nothing had been."""
    options = dataclasses.replace(FOUR_STEPS, snapshot_kimg=0.016)
    run(tmp_path / "whole", options)
    with pytest.raises(Killed):
        run(tmp_path / "parts", options, log=killed_at(16))
    run(tmp_path / "parts", options)
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


def test_a_kill_costs_the_steps_since_the_last_checkpoint_only(tmp_path, run):
    """Killed between two checkpoints, training goes on from the older one and ends as if nothing had happened."""
    options = dataclasses.replace(FOUR_STEPS, snapshot_kimg=0.016)
    run(tmp_path / "whole", options)
    with pytest.raises(Killed):
        run(tmp_path / "killed", options, progress=killed_after(3))
    assert checkpoint(tmp_path / "killed").keys() == checkpoint(tmp_path / "whole").keys()
    seen = []
    run(tmp_path / "killed", options, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(24, 32), (32, 32)]
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "killed"))


def test_a_kill_before_the_first_snapshot_goes_on_from_the_start(tmp_path, run):
    """The state before the first step is kept, whole, and the result is the same."""
    with pytest.raises(Killed):
        run(tmp_path / "killed", progress=killed_after(1))
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [CHECKPOINT]
    seen = []
    run(
        tmp_path / "killed",
        progress=lambda done, *_: seen.append(done),
        warm_start=lambda _: pytest.fail("warm start after a checkpoint"),
    )
    run(tmp_path / "whole")
    assert seen == [8, 16, 24, 32]
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "killed"))


def test_what_callbacks_draw_does_not_matter(tmp_path, run):
    """Training neither reads nor moves torch's global random state: callbacks and what came before may draw from it."""

    def draw(*_):
        torch.manual_seed(int(torch.randint(1000, ())))
        return {"drawn": float(torch.rand(3).sum())}

    run(tmp_path / "plain")
    torch.manual_seed(77)
    run(tmp_path / "drawing", on_snapshot=draw, log=draw, progress=draw, warm_start=draw)
    assert equal(checkpoint(tmp_path / "plain"), checkpoint(tmp_path / "drawing"))
    before = torch.get_rng_state()
    run(tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), before)


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
    """`log` gets the losses, how diverse pictures are and what the snapshot returned, with the images seen."""
    logged = []
    options = dataclasses.replace(FOUR_STEPS, snapshot_kimg=0.016)
    run(tmp_path, options, on_snapshot=lambda *_: {"kid": 1.5}, log=lambda *given: logged.append(given))
    assert [seen for _, seen in logged] == [16, 32]
    losses = {"loss_d", "loss_g", "loss_mismatch", "r1_plus_r2", "logit_gap"}
    for metrics, _ in logged:
        assert metrics.keys() == {*losses, "diversity", "kid", "rollbacks"}
        assert (metrics["kid"], metrics["rollbacks"]) == (1.5, 0)
        assert 0 < metrics["diversity"] < 2


def test_speed_is_told_from_the_twentieth_step_of_a_process(tmp_path, run):
    """Images per second, share of the arithmetic and time to go among the metrics, the share in the progress line too.

    A process that goes on counts anew; what is measured changes nothing of what is trained.
    """
    options = dataclasses.replace(FOUR_STEPS, max_kimg=0.192, snapshot_kimg=0.04)
    logged, notes = [], []
    run(
        tmp_path / "told",
        options,
        log=lambda metrics, seen: logged.append((seen, metrics)),
        progress=lambda _done, _total, note: notes.append(note),
    )
    assert notes[:20] == [""] * 20
    assert all(note.startswith("MFU ") for note in notes[20:])
    speed = {"img_per_sec", "mfu", "eta_min"}
    assert [(seen, speed & metrics.keys()) for seen, metrics in logged[:4]] == [(40 * k, set()) for k in (1, 2, 3, 4)]
    seen, metrics = logged[4]
    assert (seen, metrics["eta_min"]) == (192, 0)
    assert metrics["img_per_sec"] > 1
    assert 0 < metrics["mfu"] < 1
    run(tmp_path / "silent", options)
    assert equal(checkpoint(tmp_path / "told"), checkpoint(tmp_path / "silent"))


def test_first_losses_are_as_they_have_always_been(tmp_path, run):
    """Golden values of four steps from a fixed seed: they change with the nets, the losses or the order of draws only.

    After a change that is meant to change them, copy the new ones from the failure.
    """
    logged = []
    run(tmp_path, log=lambda metrics, _: logged.append(metrics))
    found = {name: [metrics[name] for metrics in logged] for name in GOLDEN}
    assert found == {name: pytest.approx(values, rel=2e-3, abs=2e-4) for name, values in GOLDEN.items()}


GOLDEN = {
    "loss_d": [0.7274, 0.8022, 0.7542, 0.7384],
    "loss_g": [0.6694, 0.6036, 0.6402, 0.6636],
    "loss_mismatch": [0.7107, 0.7156, 0.7268, 0.693],
    "r1_plus_r2": [0.1157, 0.1673, 0.1228, 0.1397],
    "logit_gap": [-0.058, -0.1986, -0.114, -0.0747],
    "diversity": [0.4025, 0.4109, 0.4128, 0.4192],
}


# --- going back -------------------------------------------------------------------------------------------------------


class Poison:
    """Callbacks that harm a training: `harm(state)` is called before the snapshot at each of `at` images, once each."""

    def __init__(self, harm, at, start_kimg=0.0):
        self.harm, self.left, self.start_kimg, self.state, self.logged = harm, list(at), start_kimg, None, []

    def warm_start(self, state):
        """Keep the state in hand."""
        self.state, state.start_kimg = state, self.start_kimg

    def progress(self, done, _total, _note):
        """Harm it where it is time."""
        if self.left and done == self.left[0]:
            self.left.pop(0)
            with torch.no_grad():
                self.harm(self.state)

    def log(self, metrics, seen):
        """Keep what was logged."""
        self.logged.append((seen, metrics))

    def callbacks(self):
        """Return all of them."""
        return {name: getattr(self, name) for name in ("warm_start", "progress", "log")}


def ruin_generator(state):
    """Set one weight to what is no number."""
    state.generator.to_rgb.weight[0, 0, 0, 0] = float("nan")


def ruin_discriminator(state):
    """Likewise, where no loss has seen it yet."""
    state.nets["discriminator"].from_rgb.weight[0, 0, 0, 0] = float("inf")


def ruin_moments(state):
    """Likewise, where no picture shows it."""
    next(iter(state.optimizers["opponents"].state.values()))["exp_avg_sq"].fill_(float("inf"))


@pytest.mark.parametrize("harm", [ruin_generator, ruin_discriminator, ruin_moments])
@pytest.mark.parametrize("at", [8, 16, 24, 32])
def test_a_training_that_breaks_goes_back_and_finishes(tmp_path, run, harm, at):
    """From the last good checkpoint, the one before the first step included, with every result finite.

    The snapshot that found it tells of the rollback and where it went back to, and of no loss.
    """
    poison = Poison(harm, [at])
    result = run(tmp_path, **poison.callbacks())
    assert result.finished
    assert [seen for seen, _ in poison.logged] == [*range(8, at, 8), at - 8, *range(at, 33, 8)]
    assert [metrics["rollbacks"] for _, metrics in poison.logged] == [0] * (at // 8 - 1) + [1] * (6 - at // 8)
    assert poison.logged[at // 8 - 1][1] == {"rollbacks": 1}
    assert all(value.isfinite().all() for value in checkpoint(tmp_path).values())
    assert all(np.isfinite(list(metrics.values())).all() for _, metrics in poison.logged)


def test_a_break_between_two_snapshots_is_found_at_the_next(tmp_path, run):
    """Nothing of it is saved or logged: the steps since the last good checkpoint are taken again."""
    poison = Poison(ruin_discriminator, [24])
    run(tmp_path, dataclasses.replace(FOUR_STEPS, snapshot_kimg=0.016), **poison.callbacks())
    assert [(seen, metrics["rollbacks"]) for seen, metrics in poison.logged] == [(16, 0), (16, 1), (32, 1)]


def test_the_second_try_has_half_the_rate_and_other_random_numbers(tmp_path, run):
    """Rates are halved once per return and stay so after a resume; the steps taken again see other data."""
    rates, options = [], dataclasses.replace(FOUR_STEPS, learning_rate=1e-3, final_learning_rate=1e-3, warmup_kimg=0.0)

    class Watched(Poison):
        def progress(self, done, total, note):
            rates.append(self.state.optimizers["opponents"].param_groups[0]["lr"])
            super().progress(done, total, note)

    poison = Watched(ruin_generator, [8, 16])
    run(tmp_path / "poisoned", options, **poison.callbacks())
    assert rates == pytest.approx([1e-3, *[5e-4] * 2, *[2.5e-4] * 3])
    losses = [metrics["loss_d"] for _, metrics in poison.logged if "loss_d" in metrics]
    plain = []
    run(tmp_path / "plain", options, log=lambda metrics, _: plain.append(metrics["loss_d"]))
    assert abs(losses[0] - plain[0]) > 1e-4


def test_a_training_that_went_back_is_resumed_as_it_was(tmp_path, run):
    """Rollbacks are part of the checkpoint: stopped after one, the rest is bit for bit that of no interruption."""
    run(tmp_path / "whole", **Poison(ruin_discriminator, [16]).callbacks())
    with pytest.raises(Killed):
        run(tmp_path / "parts", **(Poison(ruin_discriminator, [16]).callbacks() | {"log": killed_at(24)}))
    assert int(clock(tmp_path / "parts")["rollbacks"]) == 1
    run(tmp_path / "parts")
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


def clock(folder):
    """Return where a checkpoint says that its training stands."""
    with safe_open(folder / CHECKPOINT, framework="pt") as stream:
        return {name: value for name, value in stream.metadata().items() if name != "training"}


def test_a_training_that_always_breaks_fails_with_its_last_good_checkpoint(tmp_path, run):
    """After `max_rollbacks` returns the error says what was found, how often, and what to do.

    The checkpoint stands byte for byte as the last return left it: nets, moments and clock of before the first break.
    """
    found = []

    def harm(state):
        found.append(checkpoint(tmp_path))
        ruin_generator(state)

    poison = Poison(harm, [16, 16, 16])
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, dataclasses.replace(FOUR_STEPS, max_rollbacks=2), **poison.callbacks())
    assert [(seen, metrics["rollbacks"]) for seen, metrics in poison.logged] == [(8, 0), (8, 1), (8, 2)]
    message = str(caught.value)
    for part in (
        "generator holds is not finite before image 16, after 2 returns",
        "Look at",
        "lower train.learning_rate",
    ):
        assert part in message
    good, left = found[0], checkpoint(tmp_path)
    assert equal({**left, "rng": good["rng"]}, good)
    assert not torch.equal(left["rng"], good["rng"])
    assert clock(tmp_path) == {"seen_img": "8", "start_kimg": "0.0", "rollbacks": "2"}


def noise_that_is_no_number():
    """Return pairs whose vectors are NaN."""
    images, shown, vectors = noise()
    return TrainingPairs.of(images, shown, USERS, of_pair={"taste": np.full_like(vectors, np.nan)})


def test_without_rollbacks_the_first_break_ends_it(tmp_path, run):
    """The checkpoint of before stays byte for byte, and the training goes on from it once the cause is gone."""
    options, before = dataclasses.replace(FOUR_STEPS, max_rollbacks=0), []

    def harm(state):
        before.append((tmp_path / CHECKPOINT).read_bytes())
        ruin_generator(state)

    with pytest.raises(TrainingError, match="after 0 returns"):
        run(tmp_path, options, **Poison(harm, [16]).callbacks())
    assert [(tmp_path / CHECKPOINT).read_bytes()] == before
    assert run(tmp_path, options).finished


def test_a_training_that_failed_fails_again(tmp_path, run):
    """Its rollbacks are spent: the same command does not start over."""
    options = dataclasses.replace(FOUR_STEPS, max_rollbacks=1)
    for _ in range(2):
        with pytest.raises(TrainingError, match="after 1 returns"):
            run(tmp_path, options, pairs=noise_that_is_no_number())


def test_a_collapsed_generator_is_found(tmp_path, run):
    """One grey picture for everybody, by weights that are all finite, once 5,000 images were seen and not before."""

    def go_grey(state):
        for net in (state.generator, state.average):
            net.to_rgb.weight.zero_()

    young, old = Poison(go_grey, [16]), Poison(go_grey, [16], start_kimg=6.0)
    for name, poison in (("young", young), ("old", old)):
        assert run(tmp_path / name, **poison.callbacks()).finished
    assert [metrics["rollbacks"] for _, metrics in young.logged] == [0, 0, 0, 0]
    assert young.logged[1][1]["diversity"] == 0
    assert [metrics["rollbacks"] for _, metrics in old.logged] == [0, 1, 1, 1, 1]
    always = Poison(go_grey, [8, 16, 16, 16, 16], start_kimg=6.0)
    with pytest.raises(TrainingError, match=r"the pictures have collapsed: they differ 0\.000 times as much as real"):
        run(tmp_path / "always", dataclasses.replace(FOUR_STEPS, max_rollbacks=0), **always.callbacks())


def test_a_saturated_discriminator_is_found(tmp_path, run):
    """Finite logits a thousand apart teach nothing where real ones are above, and much where they are below.

    A fresh discriminator's head is made a million times as steep, and again with the other sign: one of the two is so.
    """
    options, found = dataclasses.replace(FOUR_STEPS, snapshot_kimg=0.016, mismatch_weight=0.0), []
    for factor in (1e6, -1e6):
        poison = Poison(lambda state, factor=factor: state.nets["discriminator"].head.plain.weight.mul_(factor), [8])
        run(tmp_path / str(factor), options, **poison.callbacks())
        found.append([(seen, metrics["rollbacks"]) for seen, metrics in poison.logged])
    assert sorted(found) == [[(0, 1), (16, 1), (32, 1)], [(16, 0), (32, 0)]]


# --- what does not fit ------------------------------------------------------------------------------------------------


NAMED = ConditionSpec((FieldSpec("taste", "vector", 5, values=tuple("abcde")),))
OTHER_TRAININGS = {
    "nets": ({"model": dataclasses.replace(MODEL, max_width=16)}, "model.max_width was 8 and is 16"),
    "settings": (
        {"options": dataclasses.replace(FOUR_STEPS, learning_rate=2e-3, flip=False)},
        "train.flip was true and is false; train.learning_rate was 0.001 and is 0.002",
    ),
    "fields": ({"spec": NAMED}, "its fields are others"),
}


@pytest.mark.parametrize("name", OTHER_TRAININGS)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, run, name):
    """Even where nets have the same shapes: an ArtifactError says what is not the same, and the checkpoint stays."""
    run(tmp_path, A_MOMENT)
    before = (tmp_path / CHECKPOINT).read_bytes()
    changes, says = OTHER_TRAININGS[name]
    with pytest.raises(ArtifactError, match=re.escape(f"belongs to another training: {says}. Go on with what wrote")):
        run(tmp_path, **changes)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_checkpoint_of_other_pairs_is_refused(tmp_path, run, pairs):
    """One picture that is brighter makes another training of it."""
    run(tmp_path, A_MOMENT)
    images = pairs.images.clone()
    images[0, 0, 0, 0] ^= 1
    with pytest.raises(ArtifactError, match="belongs to another training: its pairs are others"):
        run(tmp_path, pairs=dataclasses.replace(pairs, images=images))


def test_a_checkpoint_that_names_no_training_is_refused(tmp_path, run):
    """As an earlier version wrote it."""
    run(tmp_path, A_MOMENT)
    save_file(checkpoint(tmp_path), tmp_path / CHECKPOINT, metadata={"seen_img": "8"})
    with pytest.raises(ArtifactError, match="an earlier version wrote it"):
        run(tmp_path)


def test_a_training_goes_on_in_other_slices_and_at_another_speed(tmp_path, run):
    """What changes no result makes no other training."""
    run(tmp_path, A_MOMENT)
    result = run(tmp_path, dataclasses.replace(A_MOMENT, max_minutes=0.0, threads=2, compile="off", groups_together=2))
    assert result.finished


def test_a_batch_that_groups_do_not_divide_is_refused(tmp_path, run):
    """The error says which two settings do not fit; nothing is written."""
    with pytest.raises(ConfigError, match=r"train: batch_size must be a multiple .* found 9"):
        run(tmp_path, dataclasses.replace(FOUR_STEPS, batch_size=9))
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_another_size_are_refused(tmp_path, run):
    """The error says both sizes; nothing is written."""
    with pytest.raises(ConfigError, match=r"8 pixels wide, model\.resolution is 16"):
        run(tmp_path, model=dataclasses.replace(MODEL, resolution=16))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "least"),
    [({}, 4), ({"user_mixup": 0.5}, 8), ({"mismatch_weight": 0.0, "contrast_weight": 1.0}, 4)],
    ids=["mismatch", "mixup", "contrast"],
)
def test_a_batch_without_other_people_is_refused_where_they_are_compared(tmp_path, run, changes, least):
    """Two people, or four that are blended with each other, are the least; without such a loss one is enough."""
    options = dataclasses.replace(FOUR_STEPS, **changes)
    with pytest.raises(ConfigError, match=f"batch_size must be at least {least}"):
        run(tmp_path / "few", dataclasses.replace(options, batch_size=least - 2))
    assert run(tmp_path / "enough", dataclasses.replace(options, batch_size=least)).finished
    alone = dataclasses.replace(options, batch_size=2, mismatch_weight=0.0, contrast_weight=0.0)
    assert run(tmp_path / "alone", alone).finished


def test_a_device_that_is_not_there_is_refused(tmp_path, run):
    """With what there is."""
    with pytest.raises(ConfigError, match=r"train\.device must be one of auto, cpu.*found 'cuda:99'"):
        run(tmp_path, dataclasses.replace(FOUR_STEPS, device="cuda:99"))


def test_the_shortest_training_takes_one_step(tmp_path, run):
    """A part of an image is more than none."""
    assert run(tmp_path, dataclasses.replace(FOUR_STEPS, max_kimg=1e-4)).seen_img == 8


@pytest.fixture
def start(tmp_path, run):
    """Return the folder of a model that was trained for four steps."""
    result = run(tmp_path / "first")
    save_generator(tmp_path / "model", result.generator, basis_version="b", trained_kimg=result.trained_kimg)
    save_companions(tmp_path / "model", tmp_path / "first")
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
    vectors = np.zeros((2, 5), dtype=np.float32)
    large = TrainingPairs.of(pictures, np.arange(2), np.arange(2), of_pair={"taste": vectors})
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
