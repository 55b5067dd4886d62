"""A training that breaks: found, taken back to its last good checkpoint, and ended where that does not help."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors import safe_open

from personalgen.conditions import Condition
from personalgen.errors import TrainingError
from personalgen.training.checkpoints import CHECKPOINT


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
def test_a_training_that_breaks_goes_back_and_finishes(tmp_path, run, harm, at, checkpoint):
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


def test_a_break_between_two_snapshots_is_found_at_the_next(tmp_path, run, four_steps):
    """Nothing of it is saved or logged: the steps since the last good checkpoint are taken again."""
    poison = Poison(ruin_discriminator, [24])
    run(tmp_path, dataclasses.replace(four_steps, snapshot_kimg=0.016), **poison.callbacks())
    assert [(seen, metrics["rollbacks"]) for seen, metrics in poison.logged] == [(16, 0), (16, 1), (32, 1)]


def test_the_second_try_has_half_the_rate_and_other_random_numbers(tmp_path, run, four_steps):
    """Rates are halved once per return and stay so after a resume; the steps taken again see other data."""
    rates, options = [], dataclasses.replace(four_steps, learning_rate=1e-3, final_learning_rate=1e-3, warmup_kimg=0.0)

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


def test_a_training_that_went_back_is_resumed_as_it_was(tmp_path, run, checkpoint, equal):
    """Rollbacks are part of the checkpoint: stopped after one, the rest is bit for bit that of no interruption."""
    run(tmp_path / "whole", **Poison(ruin_discriminator, [16]).callbacks())

    def stop(_metrics, seen):
        if seen >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", **(Poison(ruin_discriminator, [16]).callbacks() | {"log": stop}))
    assert int(clock(tmp_path / "parts")["rollbacks"]) == 1
    run(tmp_path / "parts")
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


def clock(folder):
    """Return where a checkpoint says that its training stands."""
    with safe_open(folder / CHECKPOINT, framework="pt") as stream:
        return {name: value for name, value in stream.metadata().items() if name not in {"training", "digest"}}


def test_a_training_that_always_breaks_fails_with_its_last_good_checkpoint(
    tmp_path, run, four_steps, checkpoint, equal
):
    """After `max_rollbacks` returns the error says what was found, how often, and what to do.

    The checkpoint stands byte for byte as the last return left it: nets, moments and clock of before the first break.
    """
    found = []

    def harm(state):
        found.append(checkpoint(tmp_path))
        ruin_generator(state)

    poison = Poison(harm, [16, 16, 16])
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, dataclasses.replace(four_steps, max_rollbacks=2), **poison.callbacks())
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
    told = clock(tmp_path)
    assert {name: told[name] for name in ("seen_img", "start_kimg", "rollbacks")} == {
        "seen_img": "8",
        "start_kimg": "0.0",
        "rollbacks": "2",
    }


def test_without_rollbacks_the_first_break_ends_it(tmp_path, run, four_steps):
    """The checkpoint of before stays byte for byte, and the training goes on from it once the cause is gone."""
    options, before = dataclasses.replace(four_steps, max_rollbacks=0), []

    def harm(state):
        before.append((tmp_path / CHECKPOINT).read_bytes())
        ruin_generator(state)

    with pytest.raises(TrainingError, match="after 0 returns"):
        run(tmp_path, options, **Poison(harm, [16]).callbacks())
    assert [(tmp_path / CHECKPOINT).read_bytes()] == before
    assert run(tmp_path, options).finished


def test_a_training_that_failed_fails_again(tmp_path, run, four_steps, pairs):
    """Its rollbacks are spent: the same command does not start over."""
    options = dataclasses.replace(four_steps, max_rollbacks=1)
    no_number = Condition({"taste": torch.full_like(pairs.of_pair.values["taste"], float("nan"))})
    for _ in range(2):
        with pytest.raises(TrainingError, match="after 1 returns"):
            run(tmp_path, options, pairs=dataclasses.replace(pairs, of_pair=no_number))


def test_a_collapsed_generator_is_found(tmp_path, run, four_steps):
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
        run(tmp_path / "always", dataclasses.replace(four_steps, max_rollbacks=0), **always.callbacks())


def test_a_saturated_discriminator_is_found(tmp_path, run, four_steps):
    """Finite logits a thousand apart teach nothing where real ones are above, and much where they are below.

    A fresh discriminator's head is made a million times as steep, and again with the other sign: one of the two is so.
    """
    options, found = dataclasses.replace(four_steps, snapshot_kimg=0.016, mismatch_weight=0.0), []
    for factor in (1e6, -1e6):
        poison = Poison(lambda state, factor=factor: state.nets["discriminator"].head.plain.weight.mul_(factor), [8])
        run(tmp_path / str(factor), options, **poison.callbacks())
        found.append([(seen, metrics["rollbacks"]) for seen, metrics in poison.logged])
    assert sorted(found) == [[(0, 1), (16, 1), (32, 1)], [(16, 0), (32, 0)]]
