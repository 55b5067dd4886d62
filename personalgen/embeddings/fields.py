"""What a generator may be told, field by field: seven fields of a user's, two of a picture's, in any mix.

The settings choose the fields; the `ConditionSpec` that follows from them, with the labels' vocabulary, is stored in
the model's card and frozen with it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from personalgen.bounds import check_options
from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.embeddings.options import EmbeddingOptions
from personalgen.embeddings.text import TEXT_DIM, TextEncoder
from personalgen.errors import ConditionError

PREFERENCE, BEHAVIOUR, DISLIKES = "preference", "behaviour", "dislikes"
EXPECTED, COLLABORATIVE, INTERESTS, CONFIDENCE = "expected", "collaborative", "interests", "confidence"
CURRENT = "current"
LABELS, TEXT = "labels", "text"
OF_USER = (PREFERENCE, CURRENT, BEHAVIOUR, DISLIKES, EXPECTED, COLLABORATIVE, INTERESTS, CONFIDENCE)
OF_PICTURE = (LABELS, TEXT)
FIELDS = OF_USER + OF_PICTURE
LABEL_SEPARATOR = "|"
"""Between the values of one cell of a label column."""
EVENT_COLUMNS = 2
"""Of an event, after the columns of its item's vector: weight and age."""
SHARE_COLUMNS = 1
"""Of an interest, after the columns of its centroid: its share of the weight."""
CONFIDENCE_WIDTH, RECENCY = 4, 2
"""Columns of a confidence, and which of them tells of the days since the newest event."""
KNOWN_EVENTS = 200
"""Newest events of a user that all fields but the preference and the dislikes look at: as many as a state keeps one by
one, so that a model is told tonight what it was told in training."""
_DROPPED_OF_USER, _DROPPED_OF_PICTURE = 0.3, 0.5


@dataclass(frozen=True)
class ConditionOptions:
    """What tonight's model is told; a model keeps the fields that it was trained with."""

    fields: tuple[str, ...] = (PREFERENCE,)
    """Any of "preference" (the user's vector), "current" (likewise, of what is liked now), "behaviour" (the newest
    events, one by one), "dislikes" (a vector), "expected" (content of what a recommender foretells), "collaborative"
    (what the order of likes says of the next ones, frozen with the basis), "interests" (centroids of what was liked),
    "confidence" (how much stands behind it), "labels" and "text" (of the picture); none: an unconditional model."""
    behaviour_events: int = 16
    """Most events of a user that `behaviour` holds, the newest."""
    interests: int = 4
    """Most centroids of a user that `interests` holds; the likes decide how many there are."""
    label_values: int = 256
    """Most values that `labels` knows: those of most training items. A model's values are frozen with it."""
    history_variants: int = 0
    """Further preference vectors for each training pair, each from a random half of the events before it; 0 is off."""

    def __post_init__(self) -> None:
        """Refuse fields that there are not."""
        unknown = [name for name in self.fields if name not in FIELDS]
        faults = [f"fields must be among {', '.join(FIELDS)}, found {', '.join(map(repr, unknown))}"] if unknown else []
        if len(set(self.fields)) < len(self.fields):
            faults.append(f"fields must differ, found {', '.join(self.fields)}")
        if self.behaviour_events > KNOWN_EVENTS:
            faults.append(f"behaviour_events must be at most {KNOWN_EVENTS}, found {self.behaviour_events}")
        least = {"behaviour_events": 1, "interests": 1, "label_values": 1, "history_variants": 0}
        check_options("condition", self, least=least, more=faults)


@dataclass(frozen=True)
class FieldRows:
    """The values of one field, a row for each user or picture, and where there are any."""

    values: NDArray[np.float32]
    """(n, width), or (n, longest, width) for a sequence; zero where absent."""
    mask: NDArray[np.bool_]
    """(n,), or (n, longest)."""

    @classmethod
    def joined(cls, parts: Sequence["FieldRows"]) -> "FieldRows":
        """Return the rows of all parts, one after another."""
        return cls(np.concatenate([part.values for part in parts]), np.concatenate([part.mask for part in parts]))

    def rows(self, index: NDArray[np.int64]) -> "FieldRows":
        """Return the chosen rows."""
        return FieldRows(self.values[index], self.mask[index])

    def newest(self, count: int) -> "FieldRows":
        """Return a sequence cut to its newest `count` rows."""
        return FieldRows(self.values[:, :count], self.mask[:, :count])


def condition_spec(
    options: ConditionOptions, dim: int, labels: tuple[str, ...], *, next_item_dim: int = EmbeddingOptions.next_item_dim
) -> ConditionSpec:
    """Return the specification of these fields in a basis of `dim` columns, with the vocabulary `labels`.

    `next_item_dim` is the basis's width of `collaborative`.
    """
    entries = {
        PREFERENCE: FieldSpec(PREFERENCE, "vector", dim),
        BEHAVIOUR: FieldSpec(BEHAVIOUR, "sequence", dim + EVENT_COLUMNS, options.behaviour_events),
        DISLIKES: FieldSpec(DISLIKES, "vector", dim),
        EXPECTED: FieldSpec(EXPECTED, "vector", dim),
        CURRENT: FieldSpec(CURRENT, "vector", dim),
        COLLABORATIVE: FieldSpec(COLLABORATIVE, "vector", next_item_dim),
        INTERESTS: FieldSpec(INTERESTS, "set", dim + SHARE_COLUMNS, options.interests),
        CONFIDENCE: FieldSpec(CONFIDENCE, "vector", CONFIDENCE_WIDTH),
        LABELS: FieldSpec(LABELS, "label", len(labels), values=labels),
        TEXT: FieldSpec(TEXT, "vector", TEXT_DIM),
    }
    return ConditionSpec(tuple(entries[name] for name in options.fields))


def preference_spec(dim: int) -> ConditionSpec:
    """Return the specification of a generator that is conditioned on preference vectors of `dim` columns."""
    return ConditionSpec.vector(PREFERENCE, dim)


def asked_of_users(*specs: ConditionSpec) -> dict[str, int]:
    """Return which fields of a user, besides the preference, the specifications ask for, and the most rows of each."""
    asked: dict[str, int] = {}
    for entry in (
        entry for spec in specs for entry in spec.fields if entry.name in OF_USER and entry.name != PREFERENCE
    ):
        asked[entry.name] = max(entry.longest, asked.get(entry.name, 0))
    return asked


def usual_dropout(spec: ConditionSpec) -> dict[str, float]:
    """Return how often training leaves out each of several fields by itself, so that any of them may be absent later.

    A picture's fields are always absent when users' images are drawn, so they are left out more often.
    """
    if len(spec.fields) < 2:
        return {}
    return {name: _DROPPED_OF_PICTURE if name in OF_PICTURE else _DROPPED_OF_USER for name in spec.names}


def label_values(cells: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return an item's labels as "column=value", several where a cell holds several ("Comedy|Romance")."""
    return tuple(
        f"{column}={value.strip()}"
        for column, cell in sorted(cells.items())
        for value in (cell or "").split(LABEL_SEPARATOR)
        if value.strip()
    )


def label_vocabulary(labels: Iterable[Sequence[str]], most: int) -> tuple[str, ...]:
    """Return the `most` values that most items have, sorted; of equally frequent ones the first by name."""
    counts = Counter(value for values in labels for value in set(values))
    return tuple(sorted(sorted(counts, key=lambda value: (-counts[value], value))[:most]))


def label_rows(labels: Sequence[Sequence[str]], vocabulary: Sequence[str]) -> FieldRows:
    """Return (n, len(vocabulary)) rows with 1 for each value that applies; values that are not in it are left out."""
    place = {value: column for column, value in enumerate(vocabulary)}
    rows = np.zeros((len(labels), len(vocabulary)), dtype=np.float32)
    for row, values in zip(rows, labels, strict=True):
        row[[place[value] for value in values if value in place]] = 1
    return FieldRows(rows, np.asarray(rows.any(axis=1)))


def text_rows(texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> FieldRows:
    """Return (n, 384) vectors of texts, of unit variance as all that a net is told; a text without words is absent.

    Raises:
        ConfigError: the extra `text` is missing.
    """
    return sentence_rows(TextEncoder().encode(texts, progress=progress))


def sentence_rows(rows: NDArray[np.float32]) -> FieldRows:
    """Return (n, 384) vectors of unit length as a field of unit variance; a row of zeros is absent."""
    return FieldRows(np.asarray(rows * TEXT_DIM**0.5, dtype=np.float32), np.asarray(rows.any(axis=1)))


def picture_condition(
    spec: ConditionSpec, *, labels: Sequence[Sequence[str]] | None = None, texts: Sequence[str] | None = None
) -> Condition:
    """Return what is asked of pictures, a row for each: labels as "column=value", or texts, or both.

    Raises:
        ConditionError: the model does not know labels, a label, or texts; or nothing is asked.
        ConfigError: the extra `text` is missing.
    """
    found: dict[str, FieldRows] = {}
    if labels is not None:
        found[LABELS] = label_rows(labels, _known_labels(spec, labels))
    if texts is not None:
        _require(spec, TEXT)
        found[TEXT] = text_rows(texts)
    if not found:
        raise ConditionError("a picture's condition needs labels or texts, found neither. Nothing was generated.")
    return as_condition(found)


def as_condition(fields: Mapping[str, FieldRows]) -> Condition:
    """Return the fields as a condition."""
    values = {name: torch.from_numpy(np.ascontiguousarray(rows.values)) for name, rows in fields.items()}
    return Condition(values, {name: torch.from_numpy(rows.mask.copy()) for name, rows in fields.items()})


def _known_labels(spec: ConditionSpec, labels: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the vocabulary of a model that knows all of these labels."""
    known = _require(spec, LABELS).values
    unknown = sorted({value for values in labels for value in values} - set(known))
    if unknown:
        raise ConditionError(f"the model does not know {unknown}; it knows {list(known)}. Nothing was generated.")
    return known


def _require(spec: ConditionSpec, name: str) -> FieldSpec:
    entry = spec.find(name)
    if entry is None:
        raise ConditionError(f"the model has no field {name!r}; it has {list(spec.names)}. Nothing was generated.")
    return entry
