import pytest

from personalgen.embeddings import EmbeddingOptions
from personalgen.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content_dim", 0),
        ("collaborative_dim", -1),
        ("text_dim", -1),
        ("next_item_dim", 0),
        ("epoch_days", -1),
        ("half_life_days", 0.0),
        ("shrinkage", -0.1),
        ("dislike_weight", -1.0),
        ("feature_px", 0),
        ("n_top_events", -1),
    ],
)
def test_settings_that_give_no_vector_are_refused(name, value):
    """The message names section, setting and value."""
    with pytest.raises(ConfigError, match=rf"^embeddings: {name} must .*found {value}\. .*Nothing was started"):
        EmbeddingOptions(**{name: value})


def test_what_came_later_is_no_part_of_an_older_identity():
    """A setting that older bases do not know counts where it differs from its default, so that versions stay."""
    later = {"next_item_dim": 8, "estimate_shrinkage": True, "segment_prior": True}
    assert not set(later) & set(EmbeddingOptions().identity())
    assert later.items() <= EmbeddingOptions(**later).identity().items()
    assert EmbeddingOptions().identity()["shrinkage"] == 1.0


def test_an_epoch_says_nothing_of_what_a_basis_is():
    """Settings that differ in nothing else have one identity."""
    assert EmbeddingOptions(epoch_days=7).identity() == EmbeddingOptions().identity()


def test_all_faults_are_told_at_once():
    """One message names every bad setting."""
    with pytest.raises(ConfigError, match=r"content_dim.*; half_life_days"):
        EmbeddingOptions(content_dim=0, half_life_days=-1)
