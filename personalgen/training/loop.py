"""The training loop. It knows images, vectors and nets; nothing of tables, users or trackers."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from personalgen.conditions import Condition, ConditionSpec
from personalgen.embeddings import ContentNet
from personalgen.errors import TrainingError
from personalgen.models import FeatureDiscriminator, Generator, ModelOptions, ema_beta, ema_update
from personalgen.threads import torch_threads
from personalgen.training.augment import augment, augment_alike, flip
from personalgen.training.dataset import TrainingPairs
from personalgen.training.losses import judge, judge_features, mismatch_loss, relativistic_d_loss, relativistic_g_loss
from personalgen.training.matching import match_loss, nearest_latents
from personalgen.training.options import TrainingOptions
from personalgen.training.state import TrainingState, load_checkpoint, new_state, save_checkpoint

Metrics = dict[str, float]


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave."""

    generator: Generator
    """The moving average, in evaluation mode on the CPU."""
    seen_img: int
    """Images seen by this training."""
    trained_kimg: float
    """Thousands of images seen by these weights, warm start included."""
    finished: bool
    """False where `max_minutes` ended the slice before `max_kimg`."""


def train(
    pairs: TrainingPairs,
    spec: ConditionSpec,
    model: ModelOptions,
    options: TrainingOptions,
    *,
    folder: Path,
    warm_start: Callable[[TrainingState], None] | None = None,
    on_snapshot: Callable[[Generator, float], Metrics] | None = None,
    log: Callable[[Metrics, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingResult:
    """Train until `max_kimg` (or `max_minutes`) and return the average; goes on from a checkpoint in `folder`.

    `log(metrics, images seen)` gets the losses at every snapshot beside what `on_snapshot(average, kimg)` returned.

    Raises:
        TrainingError: a loss is not finite; the last checkpoint is left in place.
    """
    device, start = pick_device(options.device), time.monotonic()
    trainer = Trainer(pairs.to(device), spec, model, options, device)
    if not load_checkpoint(folder, trainer.state) and warm_start:
        warm_start(trainer.state)
    state, total = trainer.state, int(options.max_kimg * 1000)
    every = max(int(options.snapshot_kimg * 1000), options.batch_size)
    out_of_time = False
    with torch_threads(options.threads):
        while state.seen_img < total and not out_of_time:
            before = state.seen_img
            trainer.step()
            if progress:
                progress(state.seen_img, total)
            out_of_time = bool(options.max_minutes) and time.monotonic() - start > 60 * options.max_minutes
            if state.seen_img // every > before // every or state.seen_img >= total or out_of_time:
                metrics = trainer.read_metrics()
                kimg = state.start_kimg + state.seen_img / 1000
                metrics |= on_snapshot(state.average, kimg) if on_snapshot else {}
                if log:
                    log(metrics, state.seen_img)
                save_checkpoint(folder, state)
    finished = state.seen_img >= total
    return TrainingResult(
        state.average.cpu().eval(), state.seen_img, state.start_kimg + state.seen_img / 1000, finished
    )


class Trainer:
    """One step of both players, and the running sums of their losses."""

    def __init__(
        self,
        pairs: TrainingPairs,
        spec: ConditionSpec,
        model: ModelOptions,
        options: TrainingOptions,
        device: torch.device,
    ) -> None:
        """Build nets and optimizers on `device`."""
        self.pairs, self.spec, self.model, self.options, self.device = pairs, spec, model, options, device
        self.state = new_state(model, spec, options, device=device)
        self.frozen = ContentNet(options.feature_px).to(device) if options.feature_weight else None
        self.dtype = pick_precision(options.precision, device)
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._since = time.monotonic()

    def step(self) -> None:
        """Train both players on one batch, both from the nets as they were before the step.

        Work is shared: one batch of fakes serves both players, and the generator's pull from the discriminator on
        pixels is the gradient that R2 has already paid for.
        """
        state, options = self.state, self.options
        self._set_schedules()
        images, condition = self._batch()
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            made = state.generator(self._latents(images, condition), condition).float()
            real, fake = self._augmented(images, made)
            loss = self._pixel_loss(real, fake, condition)
            if options.candidates:
                loss = loss + options.match_weight * self._match_loss(made, images)
            if options.feature_weight:
                loss = loss + options.feature_weight * self._feature_loss(real, fake, condition)
        for optimizer in (state.d_optimizer, state.g_optimizer):
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in (state.d_optimizer, state.g_optimizer):
            optimizer.step()
        state.seen_img += options.batch_size
        seen = state.start_kimg * 1000 + state.seen_img
        beta = ema_beta(options.batch_size, half_life_img=options.ema_kimg * 1000, seen_img=seen)
        ema_update(state.average, state.generator, beta)
        self._steps += 1

    def read_metrics(self) -> Metrics:
        """Return mean losses and images per second since the last call, and start new sums.

        Raises:
            TrainingError: a loss is not finite.
        """
        metrics = {name: float(total) / max(self._steps, 1) for name, total in self._sums.items()}
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            raise TrainingError(
                f"{', '.join(bad)} is not finite before image {self.state.seen_img}. The last checkpoint stands; "
                "lower train.learning_rate or raise train.r1_gamma and run again."
            )
        now = time.monotonic()
        metrics["img_per_sec"] = self._steps * self.options.batch_size / max(now - self._since, 1e-9)
        self._sums, self._steps, self._since = {}, 0, now
        return metrics

    def _pixel_loss(self, real: Tensor, fake: Tensor, condition: Condition) -> Tensor:
        """Return a scalar that hands the discriminator the gradient of its loss, and the generator that of its own.

        The generator's part is linear in the fakes: their gradient under softplus(D(x) - D(G(z))) is known from R2. It
        is exact where rows do not see each other; what one row of a group does to the logits of the others through
        `GroupSpread` carries the row's own weight instead of theirs, which moves the gradient by a few per cent.
        """
        net, options = self.state.discriminator, self.options

        def discriminate(x: Tensor) -> tuple[Tensor, Tensor]:
            features = net.features(x)
            return net.score(features, condition), features

        on_real, on_fake = judge(discriminate, real), judge(discriminate, fake.detach())
        mismatch = mismatch_loss(on_real.logits, net.score(on_real.features, self._other_users(condition)))
        penalty, gap = (on_real.penalty + on_fake.penalty).mean(), on_real.logits - on_fake.logits
        d_loss = relativistic_d_loss(on_real.logits, on_fake.logits)
        steer = torch.sigmoid(gap).detach()[:, None, None, None] / len(fake)
        self._add("loss_d", d_loss)
        self._add("loss_g", relativistic_g_loss(on_real.logits, on_fake.logits))
        self._add("loss_mismatch", mismatch)
        self._add("r1_plus_r2", penalty)
        self._add("logit_gap", gap.mean())
        g_pull = -(steer * on_fake.gradient.detach() * fake).sum()
        return d_loss + options.mismatch_weight * mismatch + self._gamma / 2 * penalty + g_pull

    def _feature_loss(self, real: Tensor, fake: Tensor, condition: Condition) -> Tensor:
        """Return the same for the discriminator on frozen features; the generator's part passes the frozen net."""
        net, frozen = cast("FeatureDiscriminator", self.state.feature_discriminator), cast("ContentNet", self.frozen)

        def discriminate(*mixed: Tensor) -> Tensor:
            return cast("Tensor", net(mixed, condition))

        with torch.no_grad():
            real_mixed = net.mixed(frozen.taps(real))
        fake_mixed = net.mixed(frozen.taps(fake))
        dims = real[0].numel()
        real_logits, r1 = judge_features(discriminate, real_mixed, pixel_dims=dims)
        fake_logits, r2 = judge_features(discriminate, tuple(x.detach() for x in fake_mixed), pixel_dims=dims)
        penalty, d_loss = (r1 + r2).mean(), relativistic_d_loss(real_logits, fake_logits)
        with frozen_parameters(net):
            g_loss = relativistic_g_loss(real_logits.detach(), net(fake_mixed, condition))
        self._add("loss_d_feature", d_loss)
        self._add("loss_g_feature", g_loss)
        self._add("r1_plus_r2_feature", penalty)
        loss: Tensor = d_loss + self._gamma / 2 * penalty + g_loss
        return loss

    def _other_users(self, condition: Condition) -> Condition:
        """Return the batch's conditions moved on by one group: everybody gets another person's."""
        return condition.take(torch.arange(condition.batch_size, device=self.device).roll(self.model.group_size))

    def _batch(self) -> tuple[Tensor, Condition]:
        """Return real images and their users' jittered vectors, some of them dropped."""
        images, vectors = self.pairs.draw(self.options.batch_size, self.model.group_size)
        images = flip(images) if self.options.flip else images
        condition = Condition.vector(self.spec.fields[0].name, vectors).jitter(self.options.condition_jitter)
        dropped = torch.rand(len(images), device=self.device) < self.options.condition_dropout
        return images.contiguous(memory_format=torch.channels_last), condition.drop(dropped)

    def _latents(self, images: Tensor, condition: Condition) -> Tensor:
        """Return one latent per image: as drawn, or of `candidates` as many those that come nearest to the images."""
        if not self.options.candidates:
            return self._z(len(images))
        group, copies = self.model.group_size, self.options.candidates
        first_of_group = torch.arange(0, len(images), group, device=self.device).repeat_interleave(group * copies)
        own = condition.take(first_of_group)

        def make(z: Tensor) -> Tensor:
            with torch.no_grad():
                return cast("Tensor", self.state.generator(z, own))

        return nearest_latents(make, images, self._z(copies * len(images)), group_size=group)

    def _augmented(self, images: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the discriminators see; a real picture and the made one that answers to it get the same view."""
        if self.options.candidates:
            real, fake = augment_alike([images, made], self.options.augment)
            return real, fake
        return augment(images, self.options.augment), augment(made, self.options.augment)

    def _match_loss(self, made: Tensor, images: Tensor) -> Tensor:
        loss = match_loss(made, images)
        self._add("loss_match", loss)
        return loss

    def _z(self, count: int) -> Tensor:
        return torch.randn(count, self.state.generator.z_dim, device=self.device)

    def _set_schedules(self) -> None:
        """Set learning rate and gamma for the images seen so far (cosine)."""
        options = self.options
        done = min(self.state.seen_img / (1000 * options.max_kimg), 1.0)
        self._gamma = cosine(options.r1_gamma, options.final_r1_gamma, done)
        warm = min((self.state.seen_img + options.batch_size) / max(1000 * options.warmup_kimg, 1), 1.0)
        rate = warm * cosine(options.learning_rate, options.final_learning_rate, done)
        for optimizer in (self.state.g_optimizer, self.state.d_optimizer):
            optimizer.param_groups[0]["lr"] = rate

    def _add(self, name: str, value: Tensor) -> None:
        """Sum a metric on the device, so that the loop does not wait for it."""
        self._sums[name] = self._sums.get(name, torch.zeros((), device=self.device)) + value.detach().float()


def cosine(start: float, end: float, done: float) -> float:
    """Return the value between `start` and `end` at the share `done` of a half cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def pick_device(name: str) -> torch.device:
    """Return the device of a setting; "auto" takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the compute type of a setting; "auto" takes bfloat16 only where the hardware has it."""
    if name == "auto":
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001
        return torch.bfloat16 if native else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]


@contextmanager
def frozen_parameters(net: nn.Module) -> Iterator[None]:
    """Let gradients pass through `net` without reaching its parameters."""
    learning = [p for p in net.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
