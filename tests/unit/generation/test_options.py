import pytest

from personalgen.errors import ConfigError
from personalgen.generation.options import GenerationOptions, OperatingPoint


def test_digest_ignores_how_a_number_is_written():
    """1 and 1.0 are the same operating point."""
    assert OperatingPoint(guidance=1, truncation_psi=1).digest() == OperatingPoint(1.0, 1.0).digest()


@pytest.mark.parametrize("other", [OperatingPoint(guidance=1.5), OperatingPoint(truncation_psi=0.7)])
def test_digest_sees_each_part(other):
    """Guidance and truncation each change the digest, which fits a signed 64-bit column."""
    assert other.digest() != OperatingPoint().digest()
    assert 0 <= other.digest() < 2**63


def test_digest_is_fixed_for_ever():
    """The digest is part of stored keys: it must never change with the code."""
    assert OperatingPoint().digest() == 8165837778060517503


def test_batch_size_and_encoder_are_not_part_of_the_operating_point():
    """How fast images are made does not name them."""
    slow = GenerationOptions(batch_size=1, encoder="png/zlib", shard_size=7)
    assert slow.operating_point.digest() == GenerationOptions().operating_point.digest()


def test_all_faults_are_named_at_once():
    """A user mends everything in one go."""
    with pytest.raises(ConfigError) as caught:
        GenerationOptions(variants=0, batch_size=-1, min_shift=float("nan"))
    assert all(name in str(caught.value) for name in ("variants", "batch_size", "min_shift"))


def test_more_variants_than_member_names_can_count_are_refused():
    """Member names have two digits for the variant."""
    with pytest.raises(ConfigError, match="at most 99"):
        GenerationOptions(variants=100)


def test_an_encoder_that_nobody_knows_is_refused_before_anything_starts():
    """The message lists what there is."""
    with pytest.raises(ConfigError, match=r"encoder must be one of auto, png/fpng, png/isal, png/zlib, found 'jpeg'"):
        GenerationOptions(encoder="jpeg")
