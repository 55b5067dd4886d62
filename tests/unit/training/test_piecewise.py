import dataclasses

import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.models import ModelOptions, build_discriminator
from personalgen.models.layers import compute_groups_together
from personalgen.training import piecewise
from personalgen.training.losses import ADVERSARIES
from personalgen.training.piecewise import four_passes, is_piecewise

OPTIONS = ModelOptions(
    resolution=16,
    z_dim=4,
    style_dim=8,
    width=12,
    max_width=24,
    discriminator_width=12,
    blocks=2,
    group_size=1,
    block="bottleneck",
    conditioning="concatenate",
)
SPECS = {"conditional": ConditionSpec((FieldSpec("label", "label", 3),)), "unconditional": ConditionSpec(())}
GAMMA = 0.7


@pytest.fixture(params=SPECS.values(), ids=SPECS)
def net(request):
    """Return a float64 discriminator of several groups a convolution, of which no weight is zero."""
    torch.manual_seed(0)
    net = build_discriminator(OPTIONS, request.param).double()
    with torch.no_grad():
        for weight in net.parameters():
            if not weight.any():
                weight.normal_(std=0.3)
    return net


@pytest.fixture
def images():
    """Return four real and four made images."""
    rng = torch.Generator().manual_seed(1)
    return tuple(torch.randn(4, 3, 16, 16, generator=rng, dtype=torch.float64) for _ in range(2))


def condition_of(net):
    """Return four conditions that a net understands, one of them absent."""
    if not net.encoder.spec.fields:
        return Condition.none(4)
    present = torch.tensor([True, True, False, True])
    return Condition({"label": torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]]}, {"label": present})


def by_autograd(net, images, adversary):
    """Return logits, penalties, the fakes' gradient and every weight's gradient, differentiated twice."""
    x = [image.clone().requires_grad_() for image in images]
    logits = [net(image, condition_of(net)) for image in x]
    pulls = [torch.autograd.grad(one.sum(), image, create_graph=True)[0] for one, image in zip(logits, x, strict=True)]
    penalty = sum(pull.square().sum((1, 2, 3)) for pull in pulls)
    (adversary.d_loss(*logits) + GAMMA / 2 * penalty.mean()).backward()
    return *logits, penalty, pulls[1], gradients(net)


def gradients(net):
    """Return every weight's gradient by its name, zeros where none arrived, and forget them."""
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in net.named_parameters()}
    net.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("rows", [32, 3], ids=["at once", "in parts"])
@pytest.mark.parametrize("loss", ADVERSARIES)
def test_four_passes_give_what_differentiating_twice_gives(net, images, loss, rows, monkeypatch):
    """Logits, penalties and every gradient, whichever rows pass together, absent conditions included."""
    monkeypatch.setattr(piecewise, "_CPU_ROWS", rows)
    adversary = ADVERSARIES[loss]
    *wanted, weights = by_autograd(net, images, adversary)
    gamma, encoded = torch.tensor(GAMMA, dtype=torch.float64), net.encoder(condition_of(net)).double()
    found = four_passes(net, *images, encoded, d_loss=adversary.d_loss, gamma=gamma, dtype=torch.float64)
    for ours, theirs in zip(found[1:], wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    found.loss.backward()
    torch.testing.assert_close(gradients(net), weights, rtol=1e-10, atol=1e-12)


def test_groups_computed_together_give_the_same_gradients(net, images):
    """Zeros stand between groups: what belongs to no weight is left out of its gradient."""
    wanted = by_autograd(net, images, ADVERSARIES["relativistic"])
    compute_groups_together(net, 3)
    together = by_autograd(net, images, ADVERSARIES["relativistic"])
    torch.testing.assert_close(together, wanted, rtol=1e-10, atol=1e-12)
    assert net.last[0].grouped.joined()[1] == 1
    found = four_passes(
        net,
        *images,
        net.encoder(condition_of(net)).double(),
        d_loss=ADVERSARIES["relativistic"].d_loss,
        gamma=torch.tensor(GAMMA, dtype=torch.float64),
        dtype=torch.float64,
    )
    found.loss.backward()
    torch.testing.assert_close(gradients(net), wanted[-1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "exact"),
    [({}, True), ({"group_size": 2}, False), ({"conditioning": "modulate"}, False), ({"block": "dense"}, False)],
    ids=str,
)
def test_nets_for_which_the_closed_form_does_not_hold_are_left_out(change, exact):
    """Rows that see each other, another head or other blocks take the general way."""
    net = build_discriminator(dataclasses.replace(OPTIONS, **change), SPECS["conditional"])
    assert is_piecewise(net) is exact
