"""Preferences: what the generator knows of a person."""

from personalgen.embeddings.basis import Basis, load_basis, save_basis
from personalgen.embeddings.content import ContentNet, image_features, text_features
from personalgen.embeddings.history import History, embed_users, fit_basis, vectors_before_events
from personalgen.embeddings.options import EmbeddingOptions
from personalgen.embeddings.preference import (
    FIELD,
    PreferenceTable,
    load_preferences,
    preference_spec,
    save_preferences,
)
from personalgen.embeddings.text import TEXT_DIM, TextEncoder

__all__ = [
    "FIELD",
    "TEXT_DIM",
    "Basis",
    "ContentNet",
    "EmbeddingOptions",
    "History",
    "PreferenceTable",
    "TextEncoder",
    "embed_users",
    "fit_basis",
    "image_features",
    "load_basis",
    "load_preferences",
    "preference_spec",
    "save_basis",
    "save_preferences",
    "text_features",
    "vectors_before_events",
]
