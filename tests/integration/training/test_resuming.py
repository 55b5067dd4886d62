"""The loop as a whole: interrupted at any moment it ends with the same bits; what it returns and tells."""

import dataclasses

import pytest
import torch

from personalgen.conditions import ConditionSpec, FieldSpec
from personalgen.models.options import FAMILIES
from personalgen.training.checkpoints import CHECKPOINT


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
def test_resuming_equals_no_interruption(
    tmp_path, run, sequence_pairs, name, four_steps, a_moment, model, checkpoint, equal
):
    """Four steps in one go are four times one step: weights, average, moments and random state, bit for bit."""
    changes = dict(RESUMED[name])
    given = {"model": dataclasses.replace(model, **changes.pop("model", {}))}
    if rollbacks := changes.pop("rollbacks", 0):
        given["warm_start"] = lambda state: setattr(state, "rollbacks", rollbacks)
    if name == "sequence":
        fields = (FieldSpec("taste", "vector", 5), FieldSpec("behaviour", "sequence", 4, longest=3))
        given |= {"pairs": sequence_pairs, "spec": ConditionSpec(fields)}
    whole = run(tmp_path / "whole", dataclasses.replace(four_steps, **changes), **given)
    parts = [run(tmp_path / "parts", dataclasses.replace(a_moment, **changes), **given) for _ in range(4)]
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    assert equal(whole.generator.state_dict(), parts[-1].generator.state_dict())
    assert [part.finished for part in parts] == [False, False, False, True]
    assert [part.trained_kimg for part in parts] == pytest.approx([0.008, 0.016, 0.024, 0.032])


def test_two_and_two_steps_are_four(tmp_path, run, four_steps, checkpoint, equal):
    """A training that is stopped between two snapshots of many steps goes on as if nothing had been."""
    options = dataclasses.replace(four_steps, snapshot_kimg=0.016)
    run(tmp_path / "whole", options)
    with pytest.raises(Killed):
        run(tmp_path / "parts", options, log=killed_at(16))
    run(tmp_path / "parts", options)
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


def test_a_kill_costs_the_steps_since_the_last_checkpoint_only(tmp_path, run, four_steps, checkpoint, equal):
    """Killed between two checkpoints, training goes on from the older one and ends as if nothing had happened."""
    options = dataclasses.replace(four_steps, snapshot_kimg=0.016)
    run(tmp_path / "whole", options)
    with pytest.raises(Killed):
        run(tmp_path / "killed", options, progress=killed_after(3))
    assert checkpoint(tmp_path / "killed").keys() == checkpoint(tmp_path / "whole").keys()
    seen = []
    run(tmp_path / "killed", options, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(24, 32), (32, 32)]
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "killed"))


def test_a_kill_before_the_first_snapshot_goes_on_from_the_start(tmp_path, run, checkpoint, equal):
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


def test_what_callbacks_draw_does_not_matter(tmp_path, run, checkpoint, equal):
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


def test_a_finished_training_is_returned_as_it_stands(tmp_path, run, equal):
    """Calling again takes no step and gives the same generator."""
    first = run(tmp_path)
    steps = []
    again = run(tmp_path, progress=lambda *_: steps.append(1))
    assert steps == []
    assert again.finished
    assert equal(first.generator.state_dict(), again.generator.state_dict())


def test_the_seed_decides_the_result(tmp_path, run, four_steps, checkpoint, equal):
    """Two runs of one seed agree bit for bit, whatever was drawn before; another seed differs."""
    run(tmp_path / "a")
    torch.manual_seed(999)
    run(tmp_path / "b")
    run(tmp_path / "c", dataclasses.replace(four_steps, seed=4))
    assert equal(checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b"))
    assert not equal(checkpoint(tmp_path / "a"), checkpoint(tmp_path / "c"))


def test_time_is_up_cleanly(tmp_path, run, a_moment):
    """`max_minutes` ends with a checkpoint, a snapshot and finished=False."""
    snapshots, rarely = [], dataclasses.replace(a_moment, snapshot_kimg=1.0)
    result = run(tmp_path, rarely, on_snapshot=lambda _, kimg: snapshots.append(kimg) or {})
    assert not result.finished
    assert snapshots == pytest.approx([0.008])
    assert (tmp_path / CHECKPOINT).exists()


def test_the_result_is_the_average_ready_to_use(tmp_path, run, spec, checkpoint):
    """In evaluation mode, without gradients, and neither the last nor the first weights."""
    result = run(tmp_path)
    saved = checkpoint(tmp_path)
    assert not result.generator.training
    assert torch.equal(result.generator.basis, saved["average.basis"])
    assert not torch.equal(result.generator.basis, saved["generator.basis"])
    with torch.inference_mode():
        images = result.generator(torch.randn(2, 6), spec.null_condition(2))
    assert torch.isfinite(images).all()


def test_metrics_are_logged_at_each_snapshot(tmp_path, run, four_steps):
    """`log` gets the losses, how diverse pictures are and what the snapshot returned, with the images seen."""
    logged = []
    options = dataclasses.replace(four_steps, snapshot_kimg=0.016)
    run(tmp_path, options, on_snapshot=lambda *_: {"kid": 1.5}, log=lambda *given: logged.append(given))
    assert [seen for _, seen in logged] == [16, 32]
    losses = {"loss_d", "loss_g", "loss_mismatch", "r1_plus_r2", "logit_gap"}
    for metrics, _ in logged:
        assert metrics.keys() == {*losses, "diversity", "kid", "rollbacks"}
        assert (metrics["kid"], metrics["rollbacks"]) == (1.5, 0)
        assert 0 < metrics["diversity"] < 2


def test_speed_is_told_from_the_twentieth_step_of_a_process(tmp_path, run, four_steps, checkpoint, equal):
    """Images per second, share of the arithmetic and time to go among the metrics, the share in the progress line too.

    A process that goes on counts anew; what is measured changes nothing of what is trained.
    """
    options = dataclasses.replace(four_steps, max_kimg=0.192, snapshot_kimg=0.04)
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
