"""What a step minimises: one scalar whose gradient every net can follow, a function of nets, data and random numbers.

A function of its inputs alone, so that it compiles as one graph, forward and backward.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from personalgen.conditions import Condition
from personalgen.embeddings import ContentNet
from personalgen.models import Discriminator, FeatureDiscriminator, Generator, ImageEncoder
from personalgen.models.bottleneck import BottleneckDiscriminator
from personalgen.training.augment import augment
from personalgen.training.contrast import PreferenceContrast
from personalgen.training.losses import (
    ADVERSARIES,
    contrastive_loss,
    judge,
    judge_features,
    kl_divergence,
    mismatch_loss,
    squared_norms,
)
from personalgen.training.matching import match_loss, nearest_latents
from personalgen.training.options import TrainingOptions
from personalgen.training.piecewise import four_passes, is_piecewise

_NOBODY = -1

Metrics = dict[str, Tensor]
Nets = Mapping[str, nn.Module]


class StepInputs(NamedTuple):
    """Everything that one step depends on besides the weights."""

    images: Tensor
    """(B, 3, R, R) real images."""
    condition: Condition
    other: Condition
    """The same rows with the conditions of other people."""
    person: Tensor
    """(B,) equal for rows of one person."""
    z: Tensor
    """(B * max(candidates, 1), z_dim) latents; for a VAE the noise of its latents."""
    views: Tensor
    """(2, B, 10) random numbers of the augmentation of real and made images."""
    augment: Tensor
    """Probability of each augmentation, a scalar."""
    gamma: Tensor
    """Weight of R1 + R2, a scalar; without effect in a step without penalty."""
    kl_weight: Tensor
    """Weight of a VAE's divergence, a scalar."""
    everybody: tuple[Condition, Tensor] | None = None
    """Conditions and persons of the whole batch, where a process computes a part of it."""


Objective = Callable[[StepInputs], tuple[Tensor, Metrics]]


@dataclass(frozen=True)
class Adversarial:
    """A generator against one or two discriminators, all trained on the nets as they were before the step.

    Work is shared: one batch of fakes serves both players, and the generator's pull from the discriminator on pixels is
    the gradient that R2 has already paid for.
    """

    generator: Generator
    discriminator: Discriminator
    feature_discriminator: FeatureDiscriminator | None
    contrast: PreferenceContrast | None
    frozen: ContentNet | None
    options: TrainingOptions
    latent_group: int
    """Consecutive images that share the candidates of their latents: those of one condition."""
    penalised: bool
    """Whether this step pays for R1 and R2."""
    conditional: bool
    """Whether there is a condition to be obeyed."""
    dtype: torch.dtype = torch.float32
    """What convolutions compute in, where the step does not leave that to autocast."""

    def __call__(self, inputs: StepInputs) -> tuple[Tensor, Metrics]:
        """Return the loss of all players and what to log of it."""
        options = self.options
        made = self.generator(self._latents(inputs), inputs.condition).to(inputs.images.dtype)
        real_view = inputs.views[0]
        # A real picture and the made one that answers to it get the same view.
        fake_view = real_view if options.candidates else inputs.views[1]
        real = augment(inputs.images, real_view, inputs.augment)
        fake = augment(made, fake_view, inputs.augment)
        loss, metrics = self._pixels(real, fake, inputs)
        if options.candidates:
            metrics["loss_match"] = match_loss(made, inputs.images)
            loss = loss + options.match_weight * metrics["loss_match"]
        if self.feature_discriminator is not None:
            found, more = self._features(real, fake, inputs)
            loss, metrics = loss + options.feature_weight * found, metrics | more
        if self.contrast is not None:
            found, more = self._contrast(real, fake, inputs)
            loss, metrics = loss + options.contrast_weight * found, metrics | more
        return loss, metrics

    def _pixels(self, real: Tensor, fake: Tensor, inputs: StepInputs) -> tuple[Tensor, Metrics]:
        """Return a scalar that hands the discriminator the gradient of its loss, and the generator that of its own.

        The generator's part is linear in the fakes, with their gradient under its loss. Where R2 is paid for, that
        gradient is known from it: row by row, each with its own weight. What one row of a group does to the logits of
        the others through `GroupSpread` then carries the row's own weight instead of theirs, which moves the gradient
        by less than a per cent; under batch normalisation it would be tens, and a backward pass of its own is taken.
        """
        net, options, adversary = self.discriminator, self.options, ADVERSARIES[self.options.loss]

        def discriminate(x: Tensor) -> tuple[Tensor, Tensor]:
            features = net.features(x)
            return net.score(features, inputs.condition), features

        if self._in_four_passes and is_piecewise(net):
            return self._pixels_in_four_passes(net, real, fake, inputs)
        on_real, on_fake = judge(discriminate, real), judge(discriminate, fake.detach())
        d_loss = adversary.d_loss(on_real.logits, on_fake.logits)
        g_loss = adversary.g_loss(on_real.logits, on_fake.logits)
        gap = on_real.logits - on_fake.logits
        metrics = {"loss_d": d_loss, "loss_g": g_loss, "logit_gap": gap.mean()}
        loss, weights = d_loss, adversary.pull(on_real.logits, on_fake.logits).detach() / len(fake)
        gradient = on_fake.gradient() if self.penalised else None
        if gradient is not None:
            metrics["r1_plus_r2"] = (squared_norms(on_real.gradient()) + squared_norms(gradient)).mean()
            loss = loss + inputs.gamma / 2 * metrics["r1_plus_r2"]
        own_pass = gradient is None or net.mixes_rows
        pull = on_fake.pull(weights) if own_pass else weights[:, None, None, None] * cast("Tensor", gradient)
        if self.conditional and options.mismatch_weight:
            metrics["loss_mismatch"] = mismatch_loss(on_real.logits, net.score(on_real.features, inputs.other))
            loss = loss + options.mismatch_weight * metrics["loss_mismatch"]
        if self.conditional and options.wrong_fake_weight:
            metrics["loss_wrong_fake"] = mismatch_loss(on_real.logits, net.score(on_fake.features, inputs.other))
            loss = loss + options.wrong_fake_weight * metrics["loss_wrong_fake"]
        return loss - (pull.detach() * fake).sum(), metrics

    @property
    def _in_four_passes(self) -> bool:
        """Whether this step pays for penalties, and for nothing else that is read from features."""
        more = self.conditional and (self.options.mismatch_weight or self.options.wrong_fake_weight)
        return self.penalised and not more

    def _pixels_in_four_passes(
        self, net: BottleneckDiscriminator, real: Tensor, fake: Tensor, inputs: StepInputs
    ) -> tuple[Tensor, Metrics]:
        """Return the same where the discriminator's gradient has a closed form."""
        adversary, encoded = ADVERSARIES[self.options.loss], net.encoder(inputs.condition)
        found = four_passes(
            net, real, fake.detach(), encoded, d_loss=adversary.d_loss, gamma=inputs.gamma, dtype=self.dtype
        )
        logits = found.real_logits, found.fake_logits
        metrics = {"loss_d": adversary.d_loss(*logits), "loss_g": adversary.g_loss(*logits)}
        metrics |= {"logit_gap": (logits[0] - logits[1]).mean(), "r1_plus_r2": found.penalty.mean()}
        pull = adversary.pull(*logits)[:, None, None, None] / len(fake) * found.fake_gradient
        return found.loss - (pull.detach() * fake).sum(), metrics

    def _features(self, real: Tensor, fake: Tensor, inputs: StepInputs) -> tuple[Tensor, Metrics]:
        """Return the same for the discriminator on frozen features; the generator's part passes the frozen net."""
        net, frozen = cast("FeatureDiscriminator", self.feature_discriminator), cast("ContentNet", self.frozen)
        adversary = ADVERSARIES[self.options.loss]

        def discriminate(*mixed: Tensor) -> tuple[Tensor, Tensor]:
            pooled = net.pooled(mixed)
            return net.score(pooled, inputs.condition), pooled

        with torch.no_grad():
            real_mixed = net.mixed(frozen.taps(real))
        fake_mixed = net.mixed(frozen.taps(fake))
        dims = real[0].numel()
        detached = tuple(x.detach() for x in fake_mixed)
        metrics = {}
        if self.penalised:
            real_logits, real_pooled, r1 = judge_features(discriminate, real_mixed, pixel_dims=dims)
            fake_logits, fake_pooled, r2 = judge_features(discriminate, detached, pixel_dims=dims)
            metrics["r1_plus_r2_feature"] = (r1 + r2).mean()
        else:
            (real_logits, real_pooled), (fake_logits, fake_pooled) = discriminate(*real_mixed), discriminate(*detached)
        loss = metrics["loss_d_feature"] = adversary.d_loss(real_logits, fake_logits)
        if self.penalised:
            loss = loss + inputs.gamma / 2 * metrics["r1_plus_r2_feature"]
        if self.conditional and self.options.mismatch_weight:
            found = mismatch_loss(real_logits, net.score(real_pooled, inputs.other))
            metrics["loss_mismatch_feature"] = found
            loss = loss + self.options.mismatch_weight * found
        if self.conditional and self.options.wrong_fake_weight:
            found = mismatch_loss(real_logits, net.score(fake_pooled, inputs.other))
            metrics["loss_wrong_fake_feature"] = found
            loss = loss + self.options.wrong_fake_weight * found
        made_logits = as_found(net)(fake_mixed, inputs.condition)
        metrics["loss_g_feature"] = adversary.g_loss(real_logits.detach(), made_logits)
        return loss + metrics["loss_g_feature"], metrics

    def _contrast(self, real: Tensor, fake: Tensor, inputs: StepInputs) -> tuple[Tensor, Metrics]:
        """Return the loss that teaches the encoders on real pairs, and the generator through the encoders as found."""
        net = cast("PreferenceContrast", self.contrast)
        condition, whose = inputs.everybody or (inputs.condition, inputs.person)
        of_person = net.condition_vectors(condition)
        whose = torch.where(net.is_known(condition), whose, _NOBODY)
        person = torch.where(net.is_known(inputs.condition), inputs.person, _NOBODY)
        learned = contrastive_loss(net(real), of_person, person, net.temperature, whose=whose)
        temperature = net.temperature.detach()
        obeyed = contrastive_loss(as_found(net)(fake), of_person.detach(), person, temperature, whose=whose)
        return learned + obeyed, {"loss_contrast": learned, "loss_contrast_g": obeyed}

    def _latents(self, inputs: StepInputs) -> Tensor:
        """Return one latent per image: as drawn, or of `candidates` as many those that come nearest to the images."""
        copies, group = self.options.candidates, self.latent_group
        if not copies:
            return inputs.z
        first_of_group = torch.arange(0, len(inputs.images), group, device=inputs.z.device)
        own = inputs.condition.take(first_of_group.repeat_interleave(group * copies))

        def make(z: Tensor) -> Tensor:
            with torch.no_grad():
                return cast("Tensor", self.generator(z, own))

        return nearest_latents(make, inputs.images, inputs.z, group_size=group)


@dataclass(frozen=True)
class Variational:
    """A VAE: real images through the encoder and back, its latents held near the prior (arXiv:1312.6114, eq. 3)."""

    generator: Generator
    image_encoder: ImageEncoder

    def __call__(self, inputs: StepInputs) -> tuple[Tensor, Metrics]:
        """Return the negative bound and its two parts."""
        mean, log_variance = (x.float() for x in self.image_encoder(inputs.images, inputs.condition))
        z = mean + (0.5 * log_variance).exp() * inputs.z
        metrics = {
            "loss_reconstruction": match_loss(self.generator(z, inputs.condition).float(), inputs.images),
            "loss_kl": kl_divergence(mean, log_variance),
        }
        return metrics["loss_reconstruction"] + inputs.kl_weight * metrics["loss_kl"] / inputs.z.shape[1], metrics


def as_found(net: nn.Module) -> Callable[..., Tensor]:
    """Return `net` as a function through which gradients pass without reaching its parameters.

    Switching `requires_grad` off and on would do it too, but not in a compiled graph.
    """
    weights = {name: parameter.detach() for name, parameter in net.named_parameters()}
    return lambda *inputs: cast("Tensor", functional_call(net, weights, inputs))
