"""Training pairs: a picture and what was known of the user who liked it before that like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalgen.artifacts import digest_of, short_digest
from personalgen.conditions import Condition
from personalgen.errors import ConfigError, DataError
from personalgen.training.options import batch_fault


@dataclass(frozen=True)
class Behaviour:
    """Every user's events in time order, from which a sequence is cut out for each pair."""

    name: str
    """The field of the condition that the sequences fill."""
    longest: int
    item_features: Tensor
    """(n_items, F) float32."""
    item_of_event: Tensor
    """(n_events,) int64 rows of `item_features`."""
    weight_of_event: Tensor
    """(n_events,) float32; negative is a dislike."""
    day_of_event: Tensor
    """(n_events,) float32 days since any fixed day."""
    start_of_pair: Tensor
    """(n_pairs,) int64: first event of the pair's user."""
    stop_of_pair: Tensor
    """(n_pairs,) int64: the event at which the pair's moment is reached; it and later ones are not known yet."""

    @property
    def width(self) -> int:
        """Columns of a row: the item's features, the weight, and log(1 + days before the newest event known)."""
        return self.item_features.shape[1] + 2

    def to(self, device: torch.device) -> "Behaviour":
        """Return the events on another device."""
        columns: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(self).items()
        }
        return Behaviour(**columns)

    def sequences(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, longest, width) rows, newest first, and (B, longest) flags of presence."""
        place = self.stop_of_pair[pairs][:, None] - 1 - torch.arange(self.longest, device=pairs.device)
        mask = place >= self.start_of_pair[pairs][:, None]
        place = place.clamp(min=0)
        age = (self.day_of_event[place[:, :1]] - self.day_of_event[place]).clamp(min=0)
        extra = torch.stack([self.weight_of_event[place], torch.log1p(age)], dim=-1)
        rows = torch.cat([self.item_features[self.item_of_event[place]], extra], dim=-1)
        return rows * mask[..., None], mask


@dataclass(frozen=True)
class Batch:
    """What one step sees of the data; consecutive groups of rows are one person's."""

    images: Tensor
    """(B, 3, R, R) float32 in [-1, 1]."""
    condition: Condition
    person: Tensor
    """(B,) int64: equal for rows of one person."""

    def rows(self, chosen: slice) -> "Batch":
        """Return a part of the batch."""
        return Batch(self.images[chosen], self.condition.take(chosen), self.person[chosen])


@dataclass(frozen=True)
class TrainingPairs:
    """The whole data set, resident on one device."""

    images: Tensor
    """(n_items, 3, R, R) uint8."""
    image_of_pair: Tensor
    """(n_pairs,) int64 rows of `images`."""
    start_of_pair: Tensor
    """(n_pairs,) int64: first pair of the same user; a user's pairs are consecutive."""
    count_of_pair: Tensor
    """(n_pairs,) int64: how many pairs that user has."""
    of_pair: Condition
    """(n_variants * n_pairs,) what was known of the user, for example the preference vector: first of every pair, then
    the same of each further variant of the user's history, of which a batch draws one for each row."""
    of_image: Condition
    """(n_items,) what is known of the picture, for example its labels or text."""
    behaviour: Behaviour | None = None
    """What the user did before, in time order."""

    @classmethod
    def of(
        cls,
        images: NDArray[np.uint8],
        image_of_pair: NDArray[np.integer],
        user_of_pair: NDArray[np.integer],
        *,
        of_pair: Mapping[str, NDArray[np.float32]] | None = None,
        of_image: Mapping[str, NDArray[np.float32]] | None = None,
        absent: Mapping[str, NDArray[np.bool_]] | None = None,
        behaviour: Behaviour | None = None,
        variants: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> "TrainingPairs":
        """Return the pairs from (n_items, R, R, 3) uint8 pictures and per-pair columns sorted by user.

        `absent` marks the rows of a field that have no value; `variants` gives fields of `of_pair` further values,
        (n_variants, n_pairs, width), as from other parts of the user's history.

        Raises:
            DataError: there is no pair to train on, or a user's pairs are not consecutive.
        """
        if not len(image_of_pair):
            raise DataError(
                "no training pair: no user liked a training item in the training period. Nothing was trained."
            )
        if (np.diff(user_of_pair) < 0).any():
            raise DataError("training pairs must be sorted by user. Nothing was trained.")
        _, start, inverse, count = np.unique(user_of_pair, return_index=True, return_inverse=True, return_counts=True)
        pictures = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        columns = (image_of_pair, start[inverse], count[inverse])
        image, first, size = (torch.from_numpy(column.astype(np.int64)) for column in columns)
        return cls(
            images=pictures,
            image_of_pair=image,
            start_of_pair=first,
            count_of_pair=size,
            of_pair=_with_variants(_condition(len(image), of_pair or {}, absent or {}), variants or {}),
            of_image=_condition(len(pictures), of_image or {}, absent or {}),
            behaviour=behaviour,
        )

    @property
    def fields_of_people(self) -> tuple[str, ...]:
        """Names of the fields that tell of a person, whatever the picture."""
        return (*self.of_pair.values, *([self.behaviour.name] if self.behaviour else []))

    @property
    def device(self) -> torch.device:
        """Where the pairs are."""
        return self.images.device

    def to(self, device: torch.device) -> "TrainingPairs":
        """Return the pairs on another device."""
        columns: dict[str, Any] = {name: value.to(device) for name, value in vars(self).items() if value is not None}
        return TrainingPairs(**columns)

    def draw(self, batch_size: int, group_size: int, *, rng: torch.Generator, mixup: float = 0.0) -> Batch:
        """Return a random batch; each group is one user's, `mixup` of them blended with the user of the group before.

        Pictures of a group are different likes as far as the user has any: the discriminator sees how a group differs.

        Blended people have a vector between the two, and each of their rows comes from the one or the other in the same
        proportion; the nearer one has at least half.

        Raises:
            ConfigError: groups do not divide the batch.
        """
        if fault := batch_fault(batch_size, group_size):
            raise ConfigError(f"train: {fault}. Nothing was trained.")
        first = torch.randint(len(self.image_of_pair), (batch_size // group_size,), generator=rng, device=self.device)
        pairs = self._of_same_user(first, group_size, rng)
        person = self.start_of_pair[first].repeat_interleave(group_size)
        if not mixup:
            return self._batch(pairs, self._known(pairs, rng), person)
        chance = torch.rand(2, len(first), generator=rng, device=self.device).repeat_interleave(group_size, dim=1)
        others = self._of_same_user(first.roll(1), group_size, rng)
        own, other = self._known(pairs, rng), self._known(others, rng)
        blend = (chance[1] < mixup) & _known_of_both(own, other, group_size)
        share = 1 - 0.5 * chance[0] * blend
        nobody_else = len(self.image_of_pair) + torch.arange(len(first), device=self.device)
        person = torch.where(blend, nobody_else.repeat_interleave(group_size), person)
        from_other = torch.rand(len(pairs), generator=rng, device=self.device) > share
        return self._batch(torch.where(from_other, others, pairs), _blended(own, other, share, from_other), person)

    def _of_same_user(self, first: Tensor, group_size: int, rng: torch.Generator) -> Tensor:
        """Return for each of the pairs `first` a group of the same user's, different ones as far as there are any."""
        start, count = self.start_of_pair[first], self.count_of_pair[first]
        chance = torch.rand(len(first), group_size, generator=rng, device=self.device)
        taken = torch.empty(len(first), 0, dtype=torch.int64, device=self.device)
        for k in range(group_size):
            place = (chance[:, k] * (count - k).clamp(min=1)).long()  # among those that are left
            for earlier in taken.sort(dim=1).values.unbind(1):
                place = place + (place >= earlier)
            taken = torch.cat([taken, place[:, None]], dim=1)
        again = torch.arange(group_size, device=self.device) % count[:, None]
        return (start[:, None] + taken.gather(1, again)).flatten()

    def _known(self, pairs: Tensor, rng: torch.Generator) -> Condition:
        """Return what was known of the users, each row from a random variant where there are any."""
        n_pairs = len(self.image_of_pair)
        n_variants = self.of_pair.batch_size // n_pairs
        if n_variants == 1:
            return self.of_pair.take(pairs)
        variant = torch.randint(n_variants, (len(pairs),), generator=rng, device=self.device)
        return self.of_pair.take(pairs + n_pairs * variant)

    def _batch(self, pairs: Tensor, known: Condition, person: Tensor) -> Batch:
        image = self.image_of_pair[pairs]
        condition = known.joined(self.of_image.take(image))
        if self.behaviour:
            rows, mask = self.behaviour.sequences(pairs)
            condition = condition.joined(Condition({self.behaviour.name: rows}, {self.behaviour.name: mask}))
        return Batch(self.images[image].float() / 127.5 - 1, condition, person)

    def spread(self) -> dict[str, float]:
        """Return the standard deviation of each field's present values, around each column's mean."""
        fields = {**_present_rows(self.of_pair), **_present_rows(self.of_image)}
        return {name: float(rows.std(0).mean()) if len(rows) > 1 else 0.0 for name, rows in fields.items()}

    def digest(self) -> str:
        """Return 32 hex digits of the content."""
        parts = [self.images, self.image_of_pair, self.start_of_pair]
        for condition in (self.of_pair, self.of_image):
            parts += [*condition.values.values(), *condition.masks.values()]
        if self.behaviour:
            parts += [value for value in vars(self.behaviour).values() if isinstance(value, Tensor)]
        names = [*self.of_pair.values, "", *self.of_image.values, ""]
        names += [self.behaviour.name, str(self.behaviour.longest)] if self.behaviour else []
        return digest_of([*names, *(short_digest(part.cpu().numpy().tobytes()) for part in parts)])


def _condition(
    rows: int, values: Mapping[str, NDArray[np.float32]], absent: Mapping[str, NDArray[np.bool_]]
) -> Condition:
    """Return the fields as a condition of `rows` rows."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in values.items()}
    masks = {name: torch.from_numpy(~absent[name]) for name in tensors if name in absent}
    return Condition.none(rows).joined(Condition(tensors, masks)) if tensors else Condition.none(rows)


def _with_variants(known: Condition, variants: Mapping[str, NDArray[np.float32]]) -> Condition:
    """Return the condition, and below it the same with each of the variants' values."""
    if unknown := sorted(variants.keys() - known.values.keys()):
        raise DataError(f"variants of {', '.join(unknown)}, which no pair has. Nothing was trained.")
    parts = [known]
    for values in zip(*variants.values(), strict=True):
        tensors = (torch.from_numpy(np.ascontiguousarray(value, np.float32)) for value in values)
        parts.append(Condition({**known.values, **dict(zip(variants, tensors, strict=True))}, known.masks))
    return Condition(
        {name: torch.cat([part.values[name] for part in parts]) for name in known.values},
        {name: torch.cat([part.masks[name] for part in parts]) for name in known.masks},
    )


def _known_of_both(own: Condition, other: Condition, group_size: int) -> Tensor:
    """Return (B,) whether every vector is known of both people, in every row of a group."""
    known = torch.ones(own.batch_size, dtype=torch.bool, device=next(iter(own.masks.values())).device)
    for name, value in own.values.items():
        if value.ndim == 2:
            known = known & own.masks[name] & other.masks[name]
    return known.reshape(-1, group_size).all(1).repeat_interleave(group_size)


def _blended(own: Condition, other: Condition, share: Tensor, from_other: Tensor) -> Condition:
    """Return `share` (B,) of the one's vectors and the rest of the other's; sets and sequences are the picture's."""
    values, masks = {}, dict(own.masks)
    for name, value in own.values.items():
        if value.ndim == 2:
            values[name] = share[:, None] * value + (1 - share[:, None]) * other.values[name]
        else:
            values[name] = torch.where(from_other[:, None, None], other.values[name], value)
            masks[name] = torch.where(from_other[:, None], other.masks[name], own.masks[name])
    return Condition(values, masks)


def _present_rows(condition: Condition) -> dict[str, Tensor]:
    return {name: value[condition.masks[name]] for name, value in condition.values.items()}
