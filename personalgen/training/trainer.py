"""One training step: draw, compute, move. What is computed is an objective; what it is computed from is drawn here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor

from personalgen.conditions import Condition
from personalgen.embeddings import ContentNet
from personalgen.errors import ConditionError, ConfigError
from personalgen.models import (
    Discriminator,
    FeatureDiscriminator,
    ImageEncoder,
    ema_beta,
    ema_update,
)
from personalgen.models.layers import compute_groups_together
from personalgen.training.augment import N_NUMBERS, flip
from personalgen.training.contrast import PreferenceContrast
from personalgen.training.dataset import Batch
from personalgen.training.job import Job
from personalgen.training.objectives import Adversarial, Objective, StepInputs, Variational
from personalgen.training.options import batch_fault
from personalgen.training.schedules import Schedule, schedule
from personalgen.training.state import new_state
from personalgen.training.team import Team


class Trainer:
    """The nets of one training, its data, and the step that moves the former by the latter."""

    def __init__(self, job: Job, device: torch.device, team: Team | None = None) -> None:
        """Build nets and optimizers on `device`.

        Raises:
            ConfigError: groups or the team do not divide the batch, the pairs have other fields than `job.spec`, or a
                dropout is for a field that there is not.
        """
        self.spec, self.model, self.options = job.spec, job.model, job.options
        self.pairs, self.device, self.team = job.pairs.to(device), device, team or Team()
        self._check()
        options, spread = job.options, self.pairs.spread()
        self.state = new_state(job, device=device)
        for net in self.state.nets.values():
            compute_groups_together(net, options.groups_together)
        self.dtype = pick_precision(options.precision, device)
        vectors = [entry.name for entry in job.spec.fields if entry.kind == "vector"]
        self._jitter = {name: options.condition_jitter * spread[name] for name in vectors}
        self.objectives = dict(self._objectives())
        self._compiled = {phase: self._compile(objective) for phase, objective in self.objectives.items()}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def step(self) -> None:
        """Train all nets on one batch, from the nets as they were before the step."""
        state, options = self.state, self.options
        now = self.schedule()
        inputs = self.draw(now)
        with self._precision():
            loss, metrics = self._compiled[now.phase](inputs)
        for optimizer in state.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
            optimizer.param_groups[0]["lr"] = now.learning_rate * 0.5**state.rollbacks
        loss.backward()
        self.team.average_gradients(state.nets.values())
        for optimizer in state.optimizers.values():
            optimizer.step()
        state.seen_img += options.batch_size
        seen = state.start_kimg * 1000 + state.seen_img
        beta = ema_beta(options.batch_size, half_life_img=options.ema_kimg * 1000, seen_img=seen)
        ema_update(state.average, state.generator, beta)
        self._sum(metrics)

    def draw(self, now: Schedule) -> StepInputs:
        """Return the inputs of a step; in a team every member draws the whole batch and takes its own rows."""
        options, rng = self.options, self.state.rng
        # Without a condition nothing is made for one person: groups of one person's would tell real from made.
        size, group = options.batch_size, self.model.group_size if self.spec.fields else 1
        batch = self.pairs.draw(size, group, rng=rng, mixup=options.user_mixup)
        images = batch.images
        if options.flip:
            images = flip(images, self._chance(size) < 0.5)
        condition = self._disturbed(batch.condition, now.condition_dropout)
        copies = 1 if self.model.family == "vae" else max(options.candidates, 1)
        z = torch.randn(size * copies, self.model.z_dim, generator=rng, device=self.device)
        views = torch.rand(2, size, N_NUMBERS, generator=rng, device=self.device)
        # Those of the group before are half of who is blended with them.
        away = group * (2 if options.user_mixup else 1)
        other = condition.take(torch.arange(size, device=self.device).roll(away))
        own, own_z = self.team.share(size), self.team.share(size * copies)
        person, batch = batch.person, Batch(images, condition, batch.person).rows(own)
        return StepInputs(
            images=batch.images.contiguous(memory_format=torch.channels_last),
            condition=batch.condition,
            other=other.take(own),
            person=batch.person,
            z=z[own_z],
            views=views[:, own],
            augment=self._scalar(now.augment),
            gamma=self._scalar(now.r1_gamma * options.penalty_every),
            kl_weight=self._scalar(now.kl_weight),
            everybody=(condition, person) if self.team.size > 1 else None,
        )

    def read_sums(self) -> dict[str, float]:
        """Return the mean of every metric over the steps that had it since the last call, over the whole team."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return self.team.average(means)

    @contextmanager
    def unnoticed(self) -> Iterator[StepInputs]:
        """Give the inputs of the next step, in the step's precision, without drawing them."""
        before = self.state.rng.get_state()
        inputs = self.draw(self.schedule())
        self.state.rng.set_state(before)
        with self._precision():
            yield inputs

    def _check(self) -> None:
        options, names = self.options, [entry.name for entry in self.spec.fields]
        if fault := batch_fault(options.batch_size, self.model.group_size):
            raise ConfigError(f"train: {fault}. Nothing was trained.")
        self.team.share(options.batch_size, self.model.group_size)
        self._check_others()
        edge = self.pairs.images.shape[-1]
        if edge != self.model.resolution:
            raise ConfigError(
                f"train: the pictures are {edge} pixels wide, model.resolution is {self.model.resolution}. Prepare "
                "pictures of that size. Nothing was trained."
            )
        if unknown := sorted(options.field_dropout.keys() - set(names)):
            raise ConfigError(
                f"train.field_dropout names {', '.join(unknown)}, but the fields of the condition are "
                f"{', '.join(names) or 'none'}. Nothing was trained."
            )
        rng = torch.Generator(self.pairs.device).manual_seed(0)
        try:
            self.spec.check(self.pairs.draw(self.model.group_size, self.model.group_size, rng=rng).condition)
        except ConditionError as error:
            raise ConfigError(f"train: the pairs do not fit the model's fields: {error}") from error

    def _check_others(self) -> None:
        """Refuse a batch without other people where a loss tells people apart."""
        options, group = self.options, self.model.group_size
        names = ("mismatch_weight", "wrong_fake_weight", "contrast_weight")
        wanted = [name for name in names if getattr(options, name)] if self.spec.fields else []
        # Blended with those of the group before, people are strangers to those of three groups before.
        least = 4 if options.user_mixup else 2
        if wanted and self.model.family != "vae" and options.batch_size < least * group:
            raise ConfigError(
                f"train: {wanted[0]} compares people, and a batch of {options.batch_size} images in groups of {group} "
                f"has {options.batch_size // group} of them; batch_size must be at least {least * group}"
                f"{' with user_mixup' if options.user_mixup else ''}. Nothing was trained."
            )

    def schedule(self) -> Schedule:
        """Return the settings of the next step."""
        return schedule(self.options, self.model, seen_img=self.state.seen_img, n_images=len(self.pairs.images))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def _disturbed(self, condition: Condition, dropped: float) -> Condition:
        """Return the condition with noise, and with fields left out as the options say."""
        options, size = self.options, condition.batch_size
        noisy = dict(condition.values)
        for name, scale in self._jitter.items():
            noise = torch.randn(noisy[name].shape, generator=self.state.rng, device=self.device)
            noisy[name] = noisy[name] + scale * noise
        condition = Condition(noisy, condition.masks).drop(self._chance(size) < dropped)
        for entry in self.spec.fields:
            if share := options.field_dropout.get(entry.name, 0.0):
                condition = condition.drop(self._chance(size) < share, [entry.name])
            if entry.has_elements and options.history_dropout:
                mask = condition.masks[entry.name]
                kept = torch.rand(mask.shape, generator=self.state.rng, device=self.device) >= options.history_dropout
                condition = Condition(condition.values, {**condition.masks, entry.name: mask & kept})
        return condition

    def _objectives(self) -> Iterator[tuple[str, Adversarial | Variational]]:
        """Yield what this training minimises, by the phase in which it does."""
        nets, options = self.state.nets, self.options
        if self.model.family == "vae":
            yield "variational", Variational(self.state.generator, cast("ImageEncoder", nets["image_encoder"]))
            return
        frozen = ContentNet(options.feature_px).to(self.device) if "feature_discriminator" in nets else None
        for phase in ("penalised", "plain"):
            yield (
                phase,
                Adversarial(
                    generator=self.state.generator,
                    discriminator=cast("Discriminator", nets["discriminator"]),
                    feature_discriminator=cast("FeatureDiscriminator | None", nets.get("feature_discriminator")),
                    contrast=cast("PreferenceContrast | None", nets.get("contrast")),
                    frozen=frozen,
                    options=options,
                    # Pictures of one person have a condition each where it tells of the picture.
                    latent_group=1 if self.pairs.of_image.values else self.model.group_size,
                    penalised=phase == "penalised",
                    conditional=bool(self.spec.fields),
                    dtype=self.dtype,
                ),
            )

    def _compile(self, objective: Adversarial | Variational) -> Objective:
        """Return the objective, compiled as a whole where the options or the device ask for it."""
        how = self.options.compile
        if how == "off" or (how == "auto" and self.device.type != "cuda"):
            return objective
        mode = "reduce-overhead" if how == "graphs" else None
        return cast("Objective", torch.compile(objective.__call__, fullgraph=True, dynamic=False, mode=mode))

    def _chance(self, count: int) -> Tensor:
        return torch.rand(count, generator=self.state.rng, device=self.device)

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, device=self.device)

    def _sum(self, metrics: dict[str, Tensor]) -> None:
        """Sum metrics on the device, so that the loop does not wait for them."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=self.device)) + value.detach().float()
            self._counts[name] = self._counts.get(name, 0) + 1


def pick_device(name: str) -> torch.device:
    """Return the device of a setting; "auto" takes a GPU where there is one.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpus = [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    known = ["auto", "cpu", *(["cuda"] if gpus else []), *gpus]
    if name not in known:
        raise ConfigError(
            f"train.device must be one of {', '.join(known)}, which torch finds here, found {name!r}. "
            "Nothing was trained."
        )
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the compute type of a setting; "auto" takes bfloat16 only where the hardware has it."""
    if name == "auto":
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001
        return torch.bfloat16 if native else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]
