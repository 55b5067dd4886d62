"""How histories become preference vectors."""

from dataclasses import dataclass, fields
from typing import Any

from personalgen.bounds import check_options

WORDS, SENTENCES = "words", "sentences"
_LATER = ("next_item_dim", "estimate_shrinkage", "segment_prior", "text", "text_weight")
"""Settings that older bases do not know: at their default they are no part of a basis's identity."""
_SENTENCE_COLUMNS = 384
_BESIDE = ("epoch_days", "ratings")
"""Settings that never are."""


@dataclass(frozen=True)
class EmbeddingOptions:
    """Settings of preferences; a frozen basis keeps the values it was fitted with."""

    content_dim: int = 48
    """Columns of whitened image (and text) content."""
    collaborative_dim: int = 16
    """Columns of the collaborative part, from a truncated SVD of decayed likes."""
    half_life_days: float = 30.0
    """Age, counted back from the user's own newest event, at which an event weighs half."""
    shrinkage: float = 1.0
    """Pseudo-events of the population mean in every user's mean: decides how far a cold user stands from the crowd."""
    estimate_shrinkage: bool = False
    """Whether the pseudo-events of likes are estimated when a basis is fitted, one number for each half of the vector,
    instead of `shrinkage`; that of dislikes stays."""
    segment_prior: bool = False
    """Whether users of a segment (a column of the users table) are shrunk towards its mean, not the population's."""
    dislike_weight: float = 0.3
    """How strongly the mean of disliked items is subtracted."""
    next_item_dim: int = 64
    """Columns of the field `collaborative`, which is frozen with a basis that is fitted where a model asks for it."""
    text: str = WORDS
    """What of title and text joins the pictures' features before whitening: hashed "words", or "sentences", vectors by
    the offline encoder (extra `text`)."""
    text_dim: int = 64
    """Columns of hashed words; 0 leaves text out. Sentences have 384."""
    text_weight: float = 0.0
    """Variance of the texts' columns over that of the pictures'; 0 leaves both as they come: mostly pictures."""
    feature_px: int = 64
    """Edge to which pictures are brought before the content net sees them."""
    n_top_events: int = 5
    """Events kept as provenance of each vector."""
    epoch_days: int = 0
    """Days after which a basis is fitted anew and turned onto the old one, before training goes on; 0 is never. It is
    no part of what a basis is: a champion of another value is a start."""

    ratings: float = 1.0
    """Weight of people's ratings of their own pictures beside likes of items: 1 is the same, 0 leaves them out. No part
    of what a basis is either."""

    @property
    def text_columns(self) -> int:
        """Columns of an item's features that are of its text: the last ones."""
        return _SENTENCE_COLUMNS if self.text == SENTENCES else self.text_dim

    @property
    def dim(self) -> int:
        """Columns of a preference vector."""
        return self.content_dim + self.collaborative_dim

    def identity(self) -> dict[str, Any]:
        """Return what makes a basis the one it is: of equal ones, a model of one is a start for the other."""
        entries = [entry for entry in fields(self) if entry.name not in _BESIDE]
        values = {entry.name: getattr(self, entry.name) for entry in entries}
        usual = {entry.name: entry.default for entry in entries if entry.name in _LATER}
        return {name: value for name, value in values.items() if name not in usual or value != usual[name]}

    def __post_init__(self) -> None:
        """Refuse settings that give no vector, all in one message."""
        sizes = {"content_dim": 1, "next_item_dim": 1, "feature_px": 32}
        least = {"collaborative_dim": 0, "text_dim": 0, "n_top_events": 0, "epoch_days": 0, "shrinkage": 0}
        least |= {"dislike_weight": 0, "ratings": 0, "text_weight": 0}
        choices = {"text": (WORDS, SENTENCES)}
        check_options("embeddings", self, least=sizes | least, above={"half_life_days": 0}, choices=choices)
