import dataclasses

import numpy as np
import pytest
import torch

from personalgen.conditions import ConditionSpec, FieldSpec
from personalgen.errors import ConfigError
from personalgen.training import Job, TrainingPairs
from personalgen.training.dataset import Behaviour
from personalgen.training.team import Team
from personalgen.training.trainer import Trainer, pick_device, pick_precision

CPU = torch.device("cpu")
FIELDS = ConditionSpec(
    (
        FieldSpec("taste", "vector", 5),
        FieldSpec("label", "label", 6),
        FieldSpec("text", "vector", 2),
        FieldSpec("behaviour", "sequence", 4, longest=4),
    )
)


@pytest.fixture
def many_fields(pairs):
    """Return the pairs with labels and texts of pictures beside the tastes, and sequences of four events each."""
    rng = np.random.default_rng(0)
    behaviour = Behaviour(
        name="behaviour",
        longest=4,
        item_features=torch.randn(6, 2),
        item_of_event=torch.arange(24) % 6,
        weight_of_event=torch.ones(24),
        day_of_event=torch.arange(24.0),
        start_of_pair=torch.zeros(20, dtype=torch.int64),
        stop_of_pair=torch.arange(4, 24),
    )
    return TrainingPairs.of(
        pairs.images.permute(0, 2, 3, 1).numpy(),
        pairs.image_of_pair.numpy(),
        np.repeat(np.arange(4), 5),
        of_pair={"taste": pairs.of_pair.values["taste"].numpy()},
        of_image={"label": np.eye(6, dtype=np.float32), "text": rng.normal(size=(6, 2)).astype(np.float32)},
        behaviour=behaviour,
    )


@pytest.fixture
def draw(make_trainer, many_fields):
    """Return a function that draws 4,000 rows of all fields, undisturbed but for the options that are given."""

    def draw(seen_img=0, **changes):
        quiet = {"condition_dropout": 0.0, "condition_jitter": 0.0, "batch_size": 4000, "flip": False}
        trainer = make_trainer(own_pairs=many_fields, own_spec=FIELDS, **quiet | changes)
        trainer.state.seen_img = seen_img
        return trainer.draw(trainer.schedule())

    return draw


def tensors(inputs):
    """Return all tensors of the inputs of a step."""
    plain = [part for part in inputs if isinstance(part, torch.Tensor)]
    return plain + [x for c in (inputs.condition, inputs.other) for x in (*c.values.values(), *c.masks.values())]


def same(one, other):
    """Return whether two steps have the same inputs, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def about(share, count=4000):
    """Return a share of so many rows within five standard errors: it is missed once in a million."""
    return pytest.approx(share, abs=5 * (share * (1 - share) / count) ** 0.5)


# --- what a step sees -------------------------------------------------------------------------------------------------


def test_the_inputs_of_a_step_depend_on_the_trainings_own_state_alone(make_trainer):
    """Two trainings of one seed draw the same, whatever torch's global state, which is left alone; the next differs."""
    one, other = (make_trainer(candidates=2, user_mixup=0.5, history_dropout=0.5) for _ in range(2))
    torch.manual_seed(17)
    before = torch.get_rng_state()
    first = one.draw(one.schedule())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert same(first, other.draw(other.schedule()))
    assert not same(first, one.draw(one.schedule()))


def test_looking_at_the_next_step_does_not_draw_it(make_trainer):
    """What is shown is what the step will see."""
    trainer = make_trainer()
    with trainer.unnoticed() as inputs:
        pass
    assert same(inputs, trainer.draw(trainer.schedule()))


def test_other_users_are_the_next_group(make_trainer):
    """Everybody gets the condition of another group, whole groups moving on by one."""
    trainer = make_trainer()
    inputs = trainer.draw(trainer.schedule())
    assert torch.equal(inputs.other.values["taste"], inputs.condition.values["taste"].roll(2, 0))
    assert torch.equal(inputs.other.masks["taste"], inputs.condition.masks["taste"].roll(2, 0))


def test_without_a_condition_pictures_are_drawn_one_by_one(make_trainer, bare):
    """Nothing is made for one person, so that real pictures come in no groups of one person's either.

    Of 2,000 pairs of rows three quarters are of two of the four users (with groups, none), within five standard errors.
    """
    for own_spec, pairs, expected in ((ConditionSpec(()), bare, about(0.75, 2000)), (None, None, 0.0)):
        trainer = make_trainer(own_pairs=pairs, own_spec=own_spec, batch_size=4000)
        person = trainer.draw(trainer.schedule()).person.reshape(-1, 2)
        assert float((person[:, 0] != person[:, 1]).float().mean()) == expected


@pytest.mark.parametrize(("family", "candidates", "count"), [("r3gan", 0, 8), ("r3gan", 3, 24), ("vae", 3, 8)])
def test_there_are_as_many_latents_as_are_tried(make_trainer, family, candidates, count):
    """One per image, `candidates` per image where they are compared, and one where a VAE needs noise only."""
    trainer = make_trainer({"family": family}, candidates=candidates)
    assert trainer.draw(trainer.schedule()).z.shape == (count, 6)


def test_a_condition_is_dropped_as_a_whole(draw):
    """At 1 nobody has one, at 0 all have all of it, and in between the share of people lacks every field at once."""
    for share, found in ((0.0, 1.0), (1.0, 0.0)):
        assert all((mask == found).all() for mask in fields(draw(condition_dropout=share)).values())
    masks = fields(draw(condition_dropout=0.3))
    assert float(masks["taste"].float().mean()) == about(0.7)
    assert all(torch.equal(mask, masks["taste"]) for mask in masks.values())


def fields(inputs):
    """Return per field which rows have it (B,); a sequence is there if all of its elements are."""
    return {
        entry.name: inputs.condition.masks[entry.name].reshape(len(inputs.images), -1).all(1) for entry in FIELDS.fields
    }


def test_fields_are_dropped_by_themselves(draw):
    """Each field lacks its own share, those that are not named none, and two fields' absences are independent."""
    masks = fields(draw(field_dropout={"taste": 0.3, "behaviour": 0.5}))
    assert float(masks["taste"].float().mean()) == about(0.7)
    assert float(masks["behaviour"].float().mean()) == about(0.5)
    assert float((masks["taste"] & masks["behaviour"]).float().mean()) == about(0.35)
    assert masks["label"].all()
    assert masks["text"].all()


def test_the_conditions_dropout_comes_on_top(draw):
    """Of the rows that keep a condition, the field's share lacks the field."""
    masks = fields(draw(condition_dropout=0.5, field_dropout={"text": 0.2}))
    assert float(masks["taste"].float().mean()) == about(0.5)
    assert float(masks["text"].float().mean()) == about(0.4)
    assert not (masks["text"] & ~masks["taste"]).any()


def test_elements_of_a_history_are_left_out_one_by_one(draw):
    """Each event is missing with the share that was asked for, whatever its place and its neighbours."""
    mask = draw(history_dropout=0.25).condition.masks["behaviour"].float()
    assert mask.mean(0).tolist() == [about(0.75)] * 4
    assert float((mask[:, 0] * mask[:, 1]).mean()) == about(0.75**2)
    assert all(fields(draw(history_dropout=0.25))[name].all() for name in ("taste", "label", "text"))
    assert draw().condition.masks["behaviour"].all()


@pytest.mark.parametrize(("seen_img", "expected"), [(0, 0.0), (50, 0.4), (100, 0.8), (5000, 0.8)])
def test_the_condition_comes_in_over_the_ramp(draw, seen_img, expected):
    """First nobody has a condition, half-way half of those who will, then all but the dropout."""
    masks = fields(draw(seen_img, condition_dropout=0.2, condition_ramp_kimg=0.1))
    assert float(masks["taste"].float().mean()) == about(expected)


def test_vectors_are_jittered_by_a_share_of_their_deviation(draw):
    """Each vector's own deviation counts; labels and sequences stay as they are."""
    plain, noisy = draw(), draw(condition_jitter=0.1)
    for name in ("taste", "text"):
        known = draw_known(plain, name)
        noise = noisy.condition.values[name] - nearest(noisy.condition.values[name], known)
        assert float(noise.std()) == pytest.approx(0.1 * float(known.std(0).mean()), rel=0.15)
        assert float(noise.mean().abs()) < 0.01
    assert set(noisy.condition.values["label"].unique().tolist()) == {0, 1}
    known = {tuple(row) for row in draw_known(plain, "behaviour").flatten(1).tolist()}
    assert all(tuple(row) in known for row in noisy.condition.values["behaviour"].flatten(1).tolist())


def draw_known(inputs, name):
    """Return the values that a field has in the data."""
    return inputs.condition.values[name].unique(dim=0)


def nearest(values, known):
    """Return for each row the nearest known one."""
    return known[torch.cdist(values, known).argmin(1)]


def test_pictures_are_mirrored_only_where_asked(draw, pairs):
    """Without flip every real picture is one of the data set; with it a half is mirrored, and none is anything else."""
    known = {tuple(picture.flatten().tolist()) for picture in pairs.images}
    mirrored = {tuple(picture.flip(2).flatten().tolist()) for picture in pairs.images}

    def shown(inputs):
        return [tuple(x) for x in ((inputs.images + 1) * 127.5).round().long().flatten(1).tolist()]

    assert set(shown(draw())) == known
    found = shown(draw(flip=True))
    assert set(found) == known | mirrored
    assert sum(x in mirrored for x in found) / 4000 == about(0.5)


def test_a_member_draws_the_whole_batch_and_takes_its_rows(make_trainer):
    """Two members' rows are those of one process, candidates and other people's conditions included."""
    alone, *members = (make_trainer(candidates=2) for _ in range(3))
    whole = alone.draw(alone.schedule())
    for rank, member in enumerate(members):
        member.team = Team(rank, 2)
    parts = [member.draw(member.schedule()) for member in members]
    for name in ("images", "person", "z"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert torch.equal(torch.cat([part.views for part in parts], dim=1), whole.views)
    others = [part.other.values["taste"] for part in parts]
    assert torch.equal(torch.cat(others), whole.other.values["taste"])


# --- when a penalty is due --------------------------------------------------------------------------------------------


def test_a_penalty_is_paid_at_every_so_many_steps(make_trainer):
    """With `penalty_every` 3 the first and the fourth step, at three times the weight; the mean is over those."""
    trainer, due, paid = make_trainer(penalty_every=3, r1_gamma=2.0), [], []
    for _ in range(4):
        due.append(trainer.schedule().phase == "penalised")
        trainer.step()
        paid.append(trainer.read_sums().get("r1_plus_r2"))
    assert due == [True, False, False, True]
    assert [value is not None for value in paid] == due
    trainer = make_trainer(penalty_every=3, r1_gamma=2.0, final_r1_gamma=2.0)
    with trainer.unnoticed() as inputs:
        assert float(inputs.gamma) == 6
    for _ in range(3):
        trainer.step()
    assert trainer.read_sums()["r1_plus_r2"] == pytest.approx(paid[0])


def test_without_weight_no_penalty_is_paid(make_trainer):
    """Gamma 0 at start and end costs nothing; at one end it is paid."""
    assert make_trainer(r1_gamma=0.0, final_r1_gamma=0.0).schedule().phase == "plain"
    assert make_trainer(r1_gamma=0.0, final_r1_gamma=1.0).schedule().phase == "penalised"
    assert make_trainer(r1_gamma=1.0, final_r1_gamma=0.0).schedule().phase == "penalised"


# --- what a step does -------------------------------------------------------------------------------------------------


def test_a_step_moves_weights_average_and_clock(make_trainer):
    """Both players learn, the average follows by a part, and the images are counted."""
    trainer = make_trainer()
    trainer.state.start_kimg = 10.0
    parts = {**trainer.state.nets, "average": trainer.state.average}
    before = {name: weights(part) for name, part in parts.items()}
    trainer.step()
    moved = {name: float((weights(part) - before[name]).norm()) for name, part in parts.items()}
    assert moved.keys() == {"generator", "discriminator", "average"}
    # The half-life is a twentieth of the 10,008 images seen.
    assert moved["average"] == pytest.approx((1 - 0.5 ** (8 / 500.4)) * moved["generator"], rel=0.01)
    assert moved["discriminator"] > 0
    assert trainer.state.seen_img == 8


def weights(net):
    """Return all weights of a net as one vector."""
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


def test_the_average_never_gets_a_gradient(make_trainer):
    """It is moved by averaging alone."""
    trainer = make_trainer()
    trainer.step()
    assert all(weight.grad is None and not weight.requires_grad for weight in trainer.state.average.parameters())


def test_every_optimizer_follows_the_schedule_and_halves_at_each_rollback(make_trainer):
    """The rate of the step is the schedule's, times a half per rollback."""
    trainer = make_trainer(learning_rate=4e-4, final_learning_rate=2e-4, max_kimg=1.0)
    for seen, rollbacks, rate in ((0, 0, 4e-4), (500, 0, 3e-4), (992, 1, 1e-4), (0, 2, 1e-4)):
        trainer.state.seen_img, trainer.state.rollbacks = seen, rollbacks
        trainer.step()
        found = [optimizer.param_groups[0]["lr"] for optimizer in trainer.state.optimizers.values()]
        assert found == pytest.approx([rate, rate], rel=1e-3)


def test_metrics_are_means_since_they_were_last_read(make_trainer):
    """Reading starts new sums, a metric that some steps lack is a mean over those that have it; every loss is there."""
    trainer = make_trainer(candidates=2)
    trainer._sum({"x": torch.tensor(1.0), "y": torch.tensor(5.0)})
    trainer._sum({"x": torch.tensor(2.0)})
    assert trainer.read_sums() == {"x": 1.5, "y": 5.0}
    assert trainer.read_sums() == {}
    trainer.step()
    assert trainer.read_sums().keys() == {"loss_d", "loss_g", "loss_mismatch", "loss_match", "r1_plus_r2", "logit_gap"}


def test_a_loss_is_compiled_only_where_asked(make_trainer, monkeypatch):
    """On a CPU "auto" runs what is written; "on" and "graphs" compile each of the two objectives as one graph."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **how: asked.append(how) or function)
    for how in ("auto", "off"):
        trainer = make_trainer(compile=how)
        assert trainer._compiled == trainer.objectives
    assert asked == []
    make_trainer(compile="on").step()
    make_trainer(compile="graphs")
    assert asked == [{"fullgraph": True, "dynamic": False, "mode": m} for m in (None, None, *["reduce-overhead"] * 2)]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_batch_that_groups_do_not_divide_is_refused(make_trainer):
    """When the trainer is built, before anything is written."""
    with pytest.raises(ConfigError, match=r"train: batch_size .*model\.group_size.* 2, found 9.*Nothing was trained"):
        make_trainer(batch_size=9)


def test_a_team_that_would_cut_groups_apart_is_refused(pairs, spec, model, options):
    """Eight images in groups of four are no three members' work, nor four's, who would have half a group each."""
    job = Job(pairs, spec, dataclasses.replace(model, group_size=4), options)
    for size in (3, 4):
        with pytest.raises(ConfigError, match=rf"processes, which is {size}, times model\.group_size, which is 4, f"):
            Trainer(job, CPU, Team(0, size))
    assert Trainer(job, CPU, Team(0, 2)).team.size == 2


def test_pairs_of_other_fields_are_refused(pairs, model, options):
    """The message says what the model would be told and what the pairs hold."""
    for name, width in (("mood", 5), ("taste", 6)):
        with pytest.raises(ConfigError, match=rf"do not fit the model's fields: .*'{name}': {width}.*'taste': 5"):
            Trainer(Job(pairs, ConditionSpec.vector(name, width), model, options), CPU)


def test_a_dropout_for_a_field_that_is_not_there_is_refused(make_trainer):
    """A misspelt name is told with the names that there are."""
    with pytest.raises(ConfigError, match=r"field_dropout names tsate, but the fields of the condition are taste"):
        make_trainer(field_dropout={"tsate": 0.5})


# --- device and precision ---------------------------------------------------------------------------------------------


def test_bfloat16_is_close_to_float32(make_trainer):
    """The first losses in half precision are those in full precision within a few percent."""
    losses = []
    for precision in ("fp32", "bf16"):
        trainer = make_trainer(precision=precision, candidates=2)
        trainer.step()
        losses.append(trainer.read_sums())
    assert losses[0] != losses[1]
    assert all(losses[1][name] == pytest.approx(losses[0][name], rel=0.1, abs=0.05) for name in ("loss_d", "loss_g"))


def test_precision_and_device_are_picked():
    """Names mean what they say; "auto" gives something that runs here."""
    assert pick_precision("fp32", CPU) == torch.float32
    assert pick_precision("bf16", CPU) == torch.bfloat16
    assert pick_precision("auto", CPU) in {torch.float32, torch.bfloat16}
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in {"cpu", "cuda"}
