import dataclasses
import shutil

import pytest
import torch
from functorch.compile import default_partition, make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from personalgen.conditions import ConditionSpec, FieldSpec
from personalgen.training.dataset import Behaviour
from personalgen.training.losses import ADVERSARIES, kl_divergence, mismatch_loss
from personalgen.training.matching import match_loss
from personalgen.training.objectives import as_found

ADVERSARIAL = ("r3gan", "dcgan", "dense_gan")


def clear(trainer):
    """Forget all gradients."""
    for net in trainer.state.nets.values():
        net.zero_grad(set_to_none=True)


def gradient(net):
    """Return all gradients of a net as one vector, zero where a weight has none."""
    parts = [torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten() for w in net.parameters()]
    return torch.cat(parts)


def gradients(trainer, loss):
    """Return the gradient of a loss for each net, by name."""
    clear(trainer)
    loss.backward()
    found = {name: gradient(net) for name, net in trainer.state.nets.items()}
    clear(trainer)
    return found


def plain_losses(trainer, inputs, *, penalised):
    """Return the losses of (generator, discriminator) as they are written in papers, each with a pass of its own."""
    g, d, options = trainer.state.generator, trainer.state.nets["discriminator"], trainer.options
    adversary, real, own = ADVERSARIES[options.loss], inputs.images, inputs.condition
    g_loss = adversary.g_loss(d(real, own), d(g(inputs.z, own), own))
    images = [x.detach().requires_grad_() for x in (real, g(inputs.z, own))]
    logits = [d(x, own) for x in images]
    d_loss = adversary.d_loss(*logits)
    d_loss = d_loss + options.mismatch_weight * mismatch_loss(logits[0], d(images[0], inputs.other))
    d_loss = d_loss + options.wrong_fake_weight * mismatch_loss(logits[0], d(images[1], inputs.other))
    if penalised:
        slopes = [torch.autograd.grad(y.sum(), x, create_graph=True)[0] for x, y in zip(images, logits, strict=True)]
        d_loss = d_loss + inputs.gamma / 2 * sum(slope.square().sum((1, 2, 3)).mean() for slope in slopes)
    return g_loss, d_loss


def both_ways(trainer, *, penalised=True):
    """Return gradients of (generator, discriminator) as the step computes them, and as the losses are written."""
    inputs = trainer.draw(trainer.schedule())
    shared = gradients(trainer, trainer.objectives["penalised" if penalised else "plain"](inputs)[0])
    g_loss, d_loss = plain_losses(trainer, inputs, penalised=penalised)
    found = gradients(trainer, g_loss)["generator"], gradients(trainer, d_loss)["discriminator"]
    return (shared["generator"], shared["discriminator"]), found


def after_steps(trainer, count=3):
    """Return the trainer after so many steps: at the start some gradients are zero."""
    for _ in range(count):
        trainer.step()
    return trainer


@pytest.mark.parametrize("family", ADVERSARIAL)
@pytest.mark.parametrize("loss", ADVERSARIES)
@pytest.mark.parametrize("wrong_fake_weight", [0.0, 0.3])
def test_both_players_get_the_gradients_of_their_own_losses(make_trainer, family, loss, wrong_fake_weight):
    """One backward pass gives the generator the gradient of its written loss, and the discriminator of its own."""
    changes = {"mismatch_weight": 0.5, "wrong_fake_weight": wrong_fake_weight, "r1_gamma": 1.0}
    trainer = after_steps(make_trainer({"family": family, "group_size": 1}, loss=loss, **changes))
    (g_shared, d_shared), (g_plain, d_plain) = both_ways(trainer)
    torch.testing.assert_close(g_shared, g_plain, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(d_shared, d_plain, rtol=1e-4, atol=1e-5)
    assert g_plain.norm() > 1e-4
    assert d_plain.norm() > 1e-4


@pytest.mark.parametrize("family", ADVERSARIAL)
@pytest.mark.parametrize("loss", ADVERSARIES)
def test_without_penalty_the_gradients_are_those_of_the_plain_losses(make_trainer, family, loss):
    """In lazy steps, for every family and in groups too, however large gamma is; nothing of a penalty is reported."""
    changes = {"mismatch_weight": 0.5, "r1_gamma": 1e4, "penalty_every": 4}
    trainer = make_trainer({"family": family, "group_size": 4}, loss=loss, **changes)
    (g_shared, d_shared), (g_plain, d_plain) = both_ways(trainer, penalised=False)
    torch.testing.assert_close(g_shared, g_plain, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(d_shared, d_plain, rtol=1e-4, atol=1e-5)
    _, metrics = trainer.objectives["plain"](trainer.draw(trainer.schedule()))
    assert not [name for name in metrics if "r1" in name]


def test_in_groups_the_generators_pull_is_nearly_the_gradient(make_trainer):
    """A picture moves its group's logits too; the shared pass weighs those by its own sigmoid, which is within 1 %."""
    trainer = after_steps(make_trainer({"group_size": 4}), 20)
    (g_shared, d_shared), (g_plain, d_plain) = both_ways(trainer)
    assert 0 < (g_shared - g_plain).norm() < 0.01 * g_plain.norm()
    torch.testing.assert_close(d_shared, d_plain, rtol=1e-4, atol=1e-5)


def test_without_a_condition_nothing_is_mismatched(make_trainer, bare):
    """There is nobody else's condition: the loss is the adversarial one with its penalty, whatever the weights."""
    trainer = make_trainer(own_pairs=bare, own_spec=ConditionSpec(()), wrong_fake_weight=1.0, contrast_weight=1.0)
    _, metrics = trainer.objectives["penalised"](trainer.draw(trainer.schedule()))
    assert metrics.keys() == {"loss_d", "loss_g", "logit_gap", "r1_plus_r2"}


def test_without_candidates_latents_are_taken_as_drawn(make_trainer):
    """Nothing is compared, and no match loss is reported."""
    trainer = make_trainer()
    inputs = trainer.draw(trainer.schedule())
    assert trainer.objectives["penalised"]._latents(inputs) is inputs.z
    assert "loss_match" not in trainer.objectives["penalised"](inputs)[1]


def test_candidates_answer_to_the_real_pictures(make_trainer):
    """The chosen latents make pictures nearer to the real ones than the first of each, and the loss says how near."""
    trainer = make_trainer(candidates=16, condition_jitter=0.0, condition_dropout=0.0)
    inputs = trainer.draw(trainer.schedule())
    chosen = trainer.objectives["penalised"]._latents(inputs)
    near, far = (
        match_loss(trainer.state.generator(z, inputs.condition), inputs.images) for z in (chosen, inputs.z[::16])
    )
    assert near < far
    torch.testing.assert_close(trainer.objectives["penalised"](inputs)[1]["loss_match"], near)


@pytest.mark.parametrize(("candidates", "alike"), [(0, False), (2, True)])
def test_a_made_picture_is_seen_as_the_one_it_answers_to(make_trainer, monkeypatch, candidates, alike):
    """With candidates real and made pictures are augmented by the same numbers, without by numbers of their own."""
    given = []

    def record(images, numbers, _probability):
        given.append(numbers)
        return images

    monkeypatch.setattr("personalgen.training.objectives.augment", record)
    trainer = make_trainer(candidates=candidates, augment=1.0)
    trainer.objectives["penalised"](trainer.draw(trainer.schedule()))
    assert len(given) == 2
    assert torch.equal(*given) is alike


# --- a second discriminator, a contrast -------------------------------------------------------------------------------


def test_the_discriminator_on_frozen_features_trains_both_players(make_trainer):
    """Its heads and the generator get gradients through the frozen net, whose own weights and mixes get none."""
    trainer = make_trainer(feature_weight=1.0, feature_px=32)
    net, objective = trainer.state.nets["feature_discriminator"], trainer.objectives["penalised"]
    before = {name: value.clone() for name, value in net.mixes.state_dict().items()}
    inputs = trainer.draw(trainer.schedule())
    made = trainer.state.generator(inputs.z, inputs.condition)
    objective._features(inputs.images, made, inputs)[0].backward()
    assert gradient(trainer.state.generator).any()
    heads = [weight for weight in net.parameters() if weight.requires_grad]
    assert all(weight.grad is not None for weight in heads)
    assert not gradient(trainer.state.nets["discriminator"]).any()
    assert all(weight.grad is None for weight in objective.frozen.parameters())
    trainer.step()
    assert all(torch.equal(net.mixes.state_dict()[name], value) for name, value in before.items())
    assert {"loss_d_feature", "loss_g_feature", "r1_plus_r2_feature"} <= trainer.read_sums().keys()


def test_the_feature_discriminators_gradients_are_those_of_its_own_losses(make_trainer):
    """With penalty and without: heads follow their loss and penalty alone, the generator the heads as they are."""
    trainer = make_trainer(feature_weight=1.0, feature_px=32, mismatch_weight=0.3, r1_gamma=1.0)
    net, adversary = trainer.state.nets["feature_discriminator"], ADVERSARIES["relativistic"]
    inputs = trainer.draw(trainer.schedule())
    for phase, objective in trainer.objectives.items():
        made = trainer.state.generator(inputs.z, inputs.condition)
        shared = gradients(trainer, objective._features(inputs.images, made, inputs)[0])
        made = trainer.state.generator(inputs.z, inputs.condition)
        maps = [net.mixed(objective.frozen.taps(x)) for x in (inputs.images, made)]
        g_loss = adversary.g_loss(net(maps[0], inputs.condition), net(maps[1], inputs.condition))
        of_generator = gradients(trainer, g_loss)["generator"]
        maps = [tuple(x.detach().requires_grad_() for x in each) for each in maps]
        logits = [net(each, inputs.condition) for each in maps]
        d_loss = adversary.d_loss(*logits) + 0.3 * mismatch_loss(logits[0], net(maps[0], inputs.other))
        if phase == "penalised":
            slopes = [
                torch.autograd.grad(y.sum(), each, create_graph=True) for y, each in zip(logits, maps, strict=True)
            ]
            squares = [x[0].numel() / 192 * x.square().sum((1, 2, 3)).mean() for each in slopes for x in each]
            d_loss = d_loss + inputs.gamma / 2 * sum(squares)
        torch.testing.assert_close(shared["generator"], of_generator, rtol=1e-4, atol=1e-6)
        of_heads = gradients(trainer, d_loss)["feature_discriminator"]
        torch.testing.assert_close(shared["feature_discriminator"], of_heads, rtol=1e-3, atol=1e-5)


def test_the_contrast_learns_from_real_pictures_and_teaches_with_made_ones(make_trainer):
    """Its gradient is that of real pairs alone; the generator's comes through it, and no discriminator is touched."""
    trainer = make_trainer(contrast_weight=1.0)
    objective, inputs = trainer.objectives["penalised"], trainer.draw(trainer.schedule())

    def found(made):
        loss, metrics = objective._contrast(inputs.images, made, inputs)
        return gradients(trainer, loss), metrics

    both, metrics = found(trainer.state.generator(inputs.z, inputs.condition))
    others, _ = found(torch.zeros_like(inputs.images, requires_grad=True))
    assert both["generator"].any()
    assert both["contrast"].any()
    assert torch.equal(both["contrast"], others["contrast"])
    assert not both["discriminator"].any()
    assert metrics.keys() == {"loss_contrast", "loss_contrast_g"}


def test_a_net_as_found_passes_gradients_and_gets_none():
    """The same values, the same gradient for the input, nothing for the weights; afterwards the net learns as ever."""
    net, x = nn.Linear(3, 2), torch.randn(4, 3, requires_grad=True)
    found = as_found(net)(x)
    found.sum().backward()
    torch.testing.assert_close(found, net(x))
    torch.testing.assert_close(x.grad, net.weight.detach().sum(0).expand(4, 3))
    assert net.weight.grad is None
    net(x).sum().backward()
    assert net.weight.grad.any()


# --- a VAE ------------------------------------------------------------------------------------------------------------


def test_a_vae_minimises_the_negative_bound(make_trainer):
    """By hand: encode, z = mean + deviation * noise, decode; the divergence is weighed per latent, warmed up."""
    trainer = make_trainer({"family": "vae"}, kl_weight=0.5, kl_warmup_kimg=0.016)
    trainer.step()
    inputs = trainer.draw(trainer.schedule())
    assert float(inputs.kl_weight) == 0.25
    loss, metrics = trainer.objectives["variational"](inputs)
    mean, log_variance = trainer.state.nets["image_encoder"](inputs.images, inputs.condition)
    made = trainer.state.generator(mean + log_variance.exp().sqrt() * inputs.z, inputs.condition)
    torch.testing.assert_close(metrics["loss_reconstruction"], match_loss(made, inputs.images))
    torch.testing.assert_close(metrics["loss_kl"], kl_divergence(mean, log_variance))
    torch.testing.assert_close(loss, match_loss(made, inputs.images) + 0.25 * kl_divergence(mean, log_variance) / 6)
    found = gradients(trainer, loss)
    assert found["generator"].any()
    assert found["image_encoder"].any()


# --- compiled ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sequence_pairs(pairs):
    """Return the pairs with sequences of up to three events of six items."""
    behaviour = Behaviour(
        name="behaviour",
        longest=3,
        item_features=torch.randn(6, 2),
        item_of_event=torch.arange(20) % 6,
        weight_of_event=torch.ones(20),
        day_of_event=torch.arange(20.0),
        start_of_pair=pairs.start_of_pair,
        stop_of_pair=torch.arange(20),
    )
    return dataclasses.replace(pairs, behaviour=behaviour)


VARIANTS = {
    "mismatch": {"mismatch_weight": 0.2, "wrong_fake_weight": 0.2},
    "candidates": {"candidates": 3},
    "contrast": {"contrast_weight": 1.0},
    "vae": {"model_changes": {"family": "vae"}},
    "dcgan": {"model_changes": {"family": "dcgan"}, "loss": "nonsaturating"},
    "sequence": {"sequence": True},
}


@pytest.fixture
def make_variant(make_trainer, sequence_pairs):
    """Return a function that builds the trainer of a variant, with all augmentation on."""

    def make(sequence=False, model_changes=None, **changes):
        if sequence:
            fields = (FieldSpec("taste", "vector", 5), FieldSpec("behaviour", "sequence", 4, longest=3))
            changes |= {"own_pairs": sequence_pairs, "own_spec": ConditionSpec(fields)}
        return make_trainer(model_changes, augment=0.8, **changes)

    return make


TRACED = aot_autograd(fw_compiler=lambda graph, _: make_boxed_func(graph.forward), partition_fn=default_partition)
"""The backend aot_eager, which needs no C++ compiler, without its search for what is cheaper to compute twice."""


def assert_compiled_equals_eager(trainer, penalised, **how):
    """Compare loss, metrics and the gradients of all nets of one step in full precision."""
    phase = "variational" if trainer.model.family == "vae" else "penalised" if penalised else "plain"
    objective, inputs = trainer.objectives[phase], trainer.draw(trainer.schedule())
    torch._dynamo.reset()
    found = []
    try:
        for function in (objective, torch.compile(objective.__call__, fullgraph=True, dynamic=False, **how)):
            loss, metrics = function(inputs)
            values = {name: value.detach() for name, value in metrics.items()}
            found.append((loss.detach(), values, gradients(trainer, loss)))
    finally:
        torch._dynamo.reset()
    (loss, values, eager), (loss_compiled, values_compiled, compiled) = found
    torch.testing.assert_close(loss_compiled, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values_compiled, values, rtol=1e-5, atol=1e-6)
    for name, expected in eager.items():
        assert expected.any()
        torch.testing.assert_close(compiled[name], expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()) + 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_compiled_equals_eager(make_variant, name):
    """The whole objective is one graph without breaks, backward included, and gives what eager gives.

    Traced by torch.compile as for any backend, and run operation by operation.
    """
    assert_compiled_equals_eager(make_variant(**VARIANTS[name]), penalised=True, backend=TRACED)


@pytest.mark.slow
def test_a_step_without_penalty_compiles_too(make_variant):
    """The other of the two graphs of a lazy training."""
    assert_compiled_equals_eager(make_variant(penalty_every=4), penalised=False, backend=TRACED)


@pytest.mark.slow
def test_the_frozen_features_compile_too(make_variant):
    """The frozen net, its taps and the second discriminator are part of the one graph."""
    trainer = make_variant(feature_weight=1.0, feature_px=32)
    assert_compiled_equals_eager(trainer, penalised=True, backend=TRACED)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute of machine code on two idle cores
@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="inductor needs a C++ compiler"
)
@pytest.mark.filterwarnings("ignore")  # of compilers and of torch's own code generation
def test_machine_code_equals_eager(make_variant):
    """What inductor makes of the graph computes the same: with F.interpolate, it lost the first stage's gradient."""
    assert_compiled_equals_eager(make_variant(**VARIANTS["mismatch"]), penalised=True, backend="inductor")
