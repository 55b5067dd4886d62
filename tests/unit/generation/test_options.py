from dataclasses import asdict

import pytest

from personalgen.errors import ConfigError
from personalgen.generation.options import GenerationOptions, OperatingPoint


def test_digest_ignores_how_a_number_is_written():
    """1 and 1.0 are the same operating point."""
    assert OperatingPoint(guidance=1, truncation_psi=1).digest() == OperatingPoint(1.0, 1.0).digest()


@pytest.mark.parametrize(
    "other",
    [OperatingPoint(guidance=1.5), OperatingPoint(truncation_psi=0.7), OperatingPoint(strengths={"preference": 0.5})],
)
def test_digest_sees_each_part(other):
    """Guidance, truncation and a strength each change the digest, which fits a signed 64-bit column."""
    assert other.digest() != OperatingPoint().digest()
    assert 0 <= other.digest() < 2**63


def test_digest_is_fixed_for_ever():
    """The digest is part of stored keys: it must never change with the code."""
    assert OperatingPoint().digest() == 8165837778060517503


def test_a_strength_of_one_is_none():
    """What changes nothing does not name a point; the order of names does not either."""
    assert OperatingPoint(strengths={"preference": 1}).digest() == OperatingPoint().digest()
    one, other = ({"a": 2.0, "b": 0.5}, {"b": 0.5, "a": 2})
    assert OperatingPoint(strengths=one).digest() == OperatingPoint(strengths=other).digest()


def test_a_point_comes_back_from_its_catalogued_form():
    """The catalogue keeps a point as JSON; one of an older home has no strengths."""
    point = OperatingPoint(1.5, 0.7, {"labels": 2.0})
    assert OperatingPoint(**asdict(point)) == point
    assert OperatingPoint(guidance=1.5, truncation_psi=0.7).digest() == OperatingPoint(1.5, 0.7).digest()


def test_a_point_is_cut_to_the_fields_of_a_model():
    """So that two models with other fields can be drawn from at one point."""
    point = OperatingPoint(1.5, strengths={"labels": 2.0, "preference": 0.5})
    assert point.among(["preference"]) == OperatingPoint(1.5, strengths={"preference": 0.5})


def test_the_strengths_of_the_settings_are_part_of_the_point():
    """What is set is what is drawn at; a negative one is refused."""
    assert GenerationOptions(strengths={"labels": 2.0}).operating_point.strengths == {"labels": 2.0}
    with pytest.raises(ConfigError, match=r"strengths\.labels must be at least 0, found -1"):
        GenerationOptions(strengths={"labels": -1})


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
    with pytest.raises(
        ConfigError, match=r"encoder must be one of auto, png, webp, jpeg95, png/fpng, .*, found 'jpeg'"
    ):
        GenerationOptions(encoder="jpeg")
