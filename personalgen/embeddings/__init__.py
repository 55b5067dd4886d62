"""Preferences: what the generator knows of a person."""

from personalgen.embeddings.basis import Basis, load_basis, save_basis
from personalgen.embeddings.content import ContentNet, image_features, text_features
from personalgen.embeddings.expected import Foresight
from personalgen.embeddings.fields import (
    ConditionOptions,
    FieldRows,
    as_condition,
    asked_of_users,
    condition_spec,
    label_rows,
    label_values,
    label_vocabulary,
    picture_condition,
    preference_spec,
    sentence_rows,
    text_rows,
    usual_dropout,
)
from personalgen.embeddings.history import (
    embed_by_items,
    embed_users,
    fit_basis,
    variants_before_events,
    vectors_before_events,
)
from personalgen.embeddings.known import Moments, vectors_known
from personalgen.embeddings.options import EmbeddingOptions
from personalgen.embeddings.parts import like_weights, part_of_likes
from personalgen.embeddings.preference import (
    FIELD,
    PreferenceTable,
    compared_columns,
    fields_in,
    load_preferences,
    save_preferences,
)
from personalgen.embeddings.rebase import is_over, rebased
from personalgen.embeddings.text import TEXT_DIM, TextEncoder

__all__ = [
    "FIELD",
    "TEXT_DIM",
    "Basis",
    "ConditionOptions",
    "ContentNet",
    "EmbeddingOptions",
    "FieldRows",
    "Foresight",
    "Moments",
    "PreferenceTable",
    "TextEncoder",
    "as_condition",
    "asked_of_users",
    "compared_columns",
    "condition_spec",
    "embed_by_items",
    "embed_users",
    "fields_in",
    "fit_basis",
    "image_features",
    "is_over",
    "label_rows",
    "label_values",
    "label_vocabulary",
    "like_weights",
    "load_basis",
    "load_preferences",
    "part_of_likes",
    "picture_condition",
    "preference_spec",
    "rebased",
    "save_basis",
    "save_preferences",
    "sentence_rows",
    "text_features",
    "text_rows",
    "usual_dropout",
    "variants_before_events",
    "vectors_before_events",
    "vectors_known",
]
