import dataclasses

import pytest
import torch

from personalgen.training.loop import Trainer, cosine, frozen_parameters, pick_device, pick_precision
from personalgen.training.losses import mismatch_loss, relativistic_d_loss, relativistic_g_loss
from personalgen.training.matching import match_loss

CPU = torch.device("cpu")


@pytest.fixture
def make_trainer(pairs, spec, model, options):
    """Return a function that builds a trainer without augmentation, at other options where asked."""

    def make(group_size=1, **changes):
        changed = dataclasses.replace(options, **{"augment": 0.0, "max_kimg": 8.0} | changes)
        return Trainer(pairs, spec, dataclasses.replace(model, group_size=group_size), changed, CPU)

    return make


def gradient(net):
    """Return all gradients of a net as one vector, zero where a weight has none, and clear them."""
    parts = [torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten() for w in net.parameters()]
    net.zero_grad(set_to_none=True)
    return torch.cat(parts)


def both_ways(trainer):
    """Return gradients of (generator, discriminator) as the loop computes them, and as the losses are written."""
    trainer._set_schedules()
    gradient(trainer.state.generator), gradient(trainer.state.discriminator)
    (real, condition), z, options = trainer._batch(), trainer._z(8), trainer.options
    g, d, found = trainer.state.generator, trainer.state.discriminator, []
    trainer._pixel_loss(real, g(z, condition), condition).backward()
    found.append((gradient(g), gradient(d)))
    relativistic_g_loss(d(real, condition), d(g(z, condition), condition)).backward()
    of_generator = gradient(g)
    gradient(d)
    images = [x.detach().requires_grad_() for x in (real, g(z, condition))]
    logits = [d(x, condition) for x in images]
    squares = [
        torch.autograd.grad(y.sum(), x, create_graph=True)[0].square() for x, y in zip(images, logits, strict=True)
    ]
    penalty = sum(square.sum((1, 2, 3)).mean() for square in squares)
    mismatch = mismatch_loss(logits[0], d(real, trainer._other_users(condition)))
    d_loss = relativistic_d_loss(*logits) + options.mismatch_weight * mismatch + trainer._gamma / 2 * penalty
    d_loss.backward()
    gradient(g)
    return [*found, (of_generator, gradient(d))]


def test_both_players_get_the_gradients_of_their_own_losses(make_trainer):
    """One backward pass gives the generator the gradient of softplus(D(x) - D(G(z))), and the discriminator its own."""
    trainer = make_trainer(mismatch_weight=0.5)
    for _ in range(3):
        trainer.step()
    (g_shared, d_shared), (g_plain, d_plain) = both_ways(trainer)
    torch.testing.assert_close(g_shared, g_plain, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(d_shared, d_plain, rtol=1e-4, atol=1e-5)
    assert g_plain.norm() > 1e-4


def test_in_groups_the_generators_pull_is_nearly_the_gradient(make_trainer):
    """A picture moves its group's logits too; the shared pass weighs those by its own sigmoid, which is within 5 %."""
    trainer = make_trainer(group_size=4)
    for _ in range(20):
        trainer.step()
    (g_shared, d_shared), (g_plain, d_plain) = both_ways(trainer)
    assert (g_shared - g_plain).norm() < 0.05 * g_plain.norm()
    torch.testing.assert_close(d_shared, d_plain, rtol=1e-4, atol=1e-5)


def test_without_candidates_latents_are_taken_as_drawn(make_trainer):
    """Nothing is compared, real and made pictures are augmented apart, and no match loss is reported."""
    trainer = make_trainer(candidates=0, augment=1.0)
    images, condition = trainer._batch()
    torch.manual_seed(5)
    drawn = trainer._z(8)
    torch.manual_seed(5)
    assert torch.equal(trainer._latents(images, condition), drawn)
    one, other = trainer._augmented(images, images)
    assert not torch.equal(one, other)
    trainer.step()
    assert "loss_match" not in trainer.read_metrics()


def test_candidates_answer_to_the_real_pictures(make_trainer):
    """The chosen latents make pictures nearer to the real ones than those as drawn, and share their augmentation."""
    trainer = make_trainer(group_size=2, candidates=16, condition_jitter=0.0, condition_dropout=0.0, augment=1.0)
    images, condition = trainer._batch()
    chosen, drawn = trainer._latents(images, condition), trainer._z(8)
    near, far = (match_loss(trainer.state.generator(z, condition), images).item() for z in (chosen, drawn))
    assert near < far
    one, other = trainer._augmented(images, images)
    assert torch.equal(one, other)


def test_other_users_are_the_next_group(make_trainer):
    """Everybody gets the condition of another group, whole groups moving on by one."""
    trainer = make_trainer(group_size=2)
    _, condition = trainer._batch()
    other = trainer._other_users(condition)
    assert torch.equal(other.values["taste"], condition.values["taste"].roll(2, 0))
    assert torch.equal(other.masks["taste"], condition.masks["taste"].roll(2, 0))


def test_conditions_are_dropped_and_jittered_as_asked(make_trainer):
    """At dropout 1 nobody has one, at 0 all have; without jitter the vectors are those of the pairs."""
    trainer = make_trainer(condition_dropout=1.0, condition_jitter=0.0)
    _, condition = trainer._batch()
    assert not condition.masks["taste"].any()
    known = {tuple(row) for row in trainer.pairs.vectors.tolist()}
    assert all(tuple(row) in known for row in condition.values["taste"].tolist())
    _, condition = make_trainer(condition_dropout=0.0, condition_jitter=0.1)._batch()
    assert condition.masks["taste"].all()
    assert not any(tuple(row) in known for row in condition.values["taste"].tolist())


def test_pictures_are_mirrored_only_where_asked(make_trainer):
    """Without flip every real picture is one of the data set."""
    trainer = make_trainer(flip=False, batch_size=64)
    images, _ = trainer._batch()
    known = {tuple(picture.flatten().tolist()) for picture in trainer.pairs.images}
    assert all(tuple(((x + 1) * 127.5).round().long().flatten().tolist()) in known for x in images)


def test_schedules_go_from_start_to_end(make_trainer):
    """Gamma and learning rate start and end where the options say, half-way in the middle; both players share them."""
    trainer = make_trainer(learning_rate=4e-4, final_learning_rate=2e-4, r1_gamma=8.0, final_r1_gamma=2.0, max_kimg=1.0)
    found = []
    for seen in (0, 500, 1000, 2000):
        trainer.state.seen_img = seen
        trainer._set_schedules()
        rates = {o.param_groups[0]["lr"] for o in (trainer.state.g_optimizer, trainer.state.d_optimizer)}
        found.append((*rates, trainer._gamma))
    assert found == [pytest.approx(x) for x in [(4e-4, 8.0), (3e-4, 5.0), (2e-4, 2.0), (2e-4, 2.0)]]


def test_the_learning_rate_warms_up(make_trainer):
    """It rises from nearly zero to its value over so many images; gamma does not."""
    constant = {"final_learning_rate": 1e-3, "final_r1_gamma": 1.0}
    trainer = make_trainer(learning_rate=1e-3, r1_gamma=1.0, warmup_kimg=0.08, max_kimg=1.0, **constant)
    rates = []
    for seen in (0, 32, 72, 500):
        trainer.state.seen_img = seen
        trainer._set_schedules()
        rates.append(trainer.state.g_optimizer.param_groups[0]["lr"])
        assert trainer._gamma == 1.0
    assert rates == pytest.approx([1e-4, 5e-4, 1e-3, 1e-3])


def test_the_cosine_is_flat_at_both_ends():
    """Half-way is the middle; a hundredth of the way is nearly the start."""
    assert [cosine(3, 1, done) for done in (0, 0.5, 1)] == pytest.approx([3, 2, 1])
    assert cosine(3, 1, 0.01) > 2.999
    assert cosine(0.1, 0.9, 0.99) > 0.899


def test_metrics_are_means_since_they_were_last_read(make_trainer):
    """Reading starts new sums; every loss is among them, with the speed."""
    trainer = make_trainer()
    trainer._add("x", torch.tensor(1.0))
    trainer._add("x", torch.tensor(2.0))
    trainer._steps = 2
    assert trainer.read_metrics()["x"] == 1.5
    trainer.step()
    metrics = trainer.read_metrics()
    losses = {"loss_d", "loss_g", "loss_mismatch", "loss_match", "r1_plus_r2", "logit_gap"}
    assert losses | {"img_per_sec"} == set(metrics)
    assert metrics["img_per_sec"] > 0


def test_a_step_moves_weights_average_and_clock(make_trainer):
    """Both players learn, the average follows by a part, and the images are counted."""
    trainer = make_trainer()
    state = trainer.state
    before = [net.state_dict()[name].clone() for net, name in parts(state)]
    trainer.step()
    moved = [(net.state_dict()[name] - old).abs().sum() for (net, name), old in zip(parts(state), before, strict=True)]
    assert all(move > 0 for move in moved)
    assert state.seen_img == 8


def parts(state):
    """Return a weight of each net."""
    return [(state.generator, "basis"), (state.average, "basis"), (state.discriminator, "from_rgb.weight")]


def test_the_average_never_gets_a_gradient(make_trainer):
    """It is moved by averaging alone."""
    trainer = make_trainer()
    trainer.step()
    assert all(weight.grad is None and not weight.requires_grad for weight in trainer.state.average.parameters())


def test_the_discriminator_on_frozen_features_trains_both_players(make_trainer):
    """Its heads and the generator get gradients through the frozen net, whose own weights and mixes get none."""
    trainer = make_trainer(feature_weight=1.0, feature_px=32, group_size=2)
    state, mixes = trainer.state, trainer.state.feature_discriminator.mixes.state_dict()
    before = {name: value.clone() for name, value in mixes.items()}
    trainer._set_schedules()
    (real, condition), z = trainer._batch(), trainer._z(8)
    trainer._feature_loss(real, state.generator(z, condition), condition).backward()
    assert gradient(state.generator).any()
    heads = [w for w in state.feature_discriminator.parameters() if w.requires_grad]
    assert all(w.grad is not None for w in heads)
    assert not gradient(state.discriminator).any()
    assert all(w.grad is None for w in trainer.frozen.parameters())
    trainer.step()
    assert all(torch.equal(mixes[name], before[name]) for name in before)
    assert {"loss_d_feature", "loss_g_feature", "r1_plus_r2_feature"} <= set(trainer.read_metrics())


def test_parameters_are_frozen_only_inside():
    """What learned before learns after, also where the body fails; what did not still does not."""
    net = torch.nn.Linear(2, 2)
    net.bias.requires_grad_(False)

    def fail():
        with frozen_parameters(net):
            assert not net.weight.requires_grad
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert net.weight.requires_grad
    assert not net.bias.requires_grad


def test_bfloat16_is_close_to_float32(make_trainer):
    """The first losses in half precision are those in full precision within a few percent."""
    losses = []
    for precision in ("fp32", "bf16"):
        trainer = make_trainer(precision=precision)
        trainer.step()
        losses.append(trainer.read_metrics())
    assert all(losses[1][name] == pytest.approx(losses[0][name], rel=0.1, abs=0.05) for name in ("loss_d", "loss_g"))


def test_precision_and_device_are_picked():
    """Names mean what they say; "auto" gives something that runs here."""
    assert pick_precision("fp32", CPU) == torch.float32
    assert pick_precision("bf16", CPU) == torch.bfloat16
    assert pick_precision("auto", CPU) in {torch.float32, torch.bfloat16}
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in {"cpu", "cuda"}
