import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.models.conditioning import ConditionEncoder

MIXED = ConditionSpec(
    (
        FieldSpec("taste", "vector", 5),
        FieldSpec("colour", "label", 3),
        FieldSpec("interests", "set", 4, longest=3),
        FieldSpec("behaviour", "sequence", 6, longest=7),
    )
)


@pytest.fixture
def encoder():
    """Return an encoder of one field of each kind whose places have been learned."""
    encoder = ConditionEncoder(MIXED, 8)
    torch.nn.init.normal_(encoder.nets["behaviour"].places)
    return encoder


@pytest.fixture
def mixed():
    """Return four rows with every field; of sets and sequences some elements are absent."""
    values = {entry.name: torch.randn(4, *entry.shape) for entry in MIXED.fields}
    masks = {"interests": torch.rand(4, 3) < 0.5, "behaviour": torch.arange(7) < torch.tensor([[7], [3], [1], [0]])}
    return Condition(values, masks)


def test_an_absent_field_is_the_learned_row(spec, condition):
    """Where the mask is False the value does not matter; the learned row does."""
    encoder, mask = ConditionEncoder(spec, 7), torch.tensor([True, False] * 4)
    encoded = encoder(Condition.vector("taste", condition.values["taste"], mask))
    other = torch.where(mask[:, None], condition.values["taste"], torch.full((8, 5), 1e6))
    assert torch.equal(encoded, encoder(Condition.vector("taste", other, mask)))
    learned = encoder.nulls["taste"].expand(8, 5)
    assert torch.equal(encoded[1::2], encoder(Condition.vector("taste", learned))[1::2])
    assert (encoded[0] - encoded[1]).abs().max() > 1e-3


def test_fields_are_encoded_apart_and_added():
    """Dropping one field changes the sum by that field's part alone."""
    encoder = ConditionEncoder(ConditionSpec((FieldSpec("a", "vector", 2), FieldSpec("b", "vector", 3))), 4)
    values = {"a": torch.randn(2, 2), "b": torch.randn(2, 3)}
    parts = [encoder.nets[name](values[name]) for name in values]
    torch.testing.assert_close(encoder(Condition(values)), parts[0] + parts[1])


def test_rows_depend_on_their_own_values_alone(encoder, mixed):
    """One by one gives what the batch gives, for every kind of field."""
    alone = torch.cat([encoder(mixed.take([k])) for k in range(4)])
    torch.testing.assert_close(encoder(mixed), alone, atol=1e-5, rtol=1e-5)


def test_absent_elements_do_not_matter(encoder, mixed):
    """What stands in an element whose mask is False changes nothing, be it NaN."""
    values = dict(mixed.values)
    for name in ("interests", "behaviour"):
        values[name] = torch.where(mixed.masks[name][..., None], values[name], torch.nan)
    torch.testing.assert_close(encoder(Condition(values, mixed.masks)), encoder(mixed))


def test_a_short_sequence_need_not_be_padded(encoder, mixed):
    """Three elements give the same as three elements and four absent ones."""
    names = ("behaviour",)
    spec = ConditionSpec(tuple(entry for entry in MIXED.fields if entry.name in names))
    encoder = ConditionEncoder(spec, 8)
    value, mask = mixed.values["behaviour"], torch.arange(7).expand(4, 7) < 3
    padded = encoder(Condition({"behaviour": value}, {"behaviour": mask}))
    torch.testing.assert_close(encoder(Condition({"behaviour": value[:, :3]})), padded)


def test_the_order_of_a_sequence_counts_and_that_of_a_set_does_not(encoder, mixed):
    """Turned around, a set is the same set, and a sequence another sequence."""
    for name, same in (("interests", True), ("behaviour", False)):
        values, masks = dict(mixed.values), {key: torch.ones_like(mask) for key, mask in mixed.masks.items()}
        before = encoder(Condition(values, masks))
        values[name] = values[name].flip(1)
        assert torch.allclose(encoder(Condition(values, masks)), before, atol=1e-5) is same


def test_an_empty_sequence_is_an_absent_one(encoder, mixed):
    """No element at all is finite and equals the dropped field."""
    dropped = mixed.drop(torch.ones(4, dtype=torch.bool), ["behaviour"])
    assert torch.isfinite(encoder(mixed)).all()
    torch.testing.assert_close(encoder(mixed)[3], encoder(dropped)[3])
    assert (encoder(mixed)[0] - encoder(dropped)[0]).abs().max() > 1e-3


def test_strength_scales_what_one_field_adds(encoder, mixed):
    """Strength 0 is absence, 2 twice the way from absence, and no other field is touched."""
    full, without = encoder(mixed), encoder(mixed.drop(torch.ones(4, dtype=torch.bool), ["colour"]))
    torch.testing.assert_close(encoder(mixed, {"colour": 0.0}), without)
    torch.testing.assert_close(encoder(mixed, {"colour": 1.0}), full)
    torch.testing.assert_close(encoder(mixed, {"colour": 2.0}), 2 * full - without, atol=1e-5, rtol=1e-5)


def test_a_model_without_fields_has_an_encoder_of_zeros():
    """The unconditional model knows its rows and nothing else."""
    encoder = ConditionEncoder(ConditionSpec(()), 8)
    assert torch.equal(encoder(Condition.none(3)), torch.zeros(3, 8))
    assert torch.equal(encoder(ConditionSpec(()).null_condition(3)), torch.zeros(3, 8))
    assert not list(encoder.parameters())


def test_every_weight_of_every_kind_is_learned(encoder, mixed):
    """With some rows dropped, each parameter gets a gradient."""
    dropped = mixed.drop(torch.tensor([True, False, False, False]))
    encoder(dropped).square().sum().backward()
    still = [name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


@pytest.mark.parametrize("n_classes", [2, 300])
def test_one_class_is_heard_however_many_there_are(n_classes):
    """Two classes differ in the code as a present label and an absent one do, within a factor of three, at first."""
    torch.manual_seed(0)
    encoder = ConditionEncoder(ConditionSpec((FieldSpec("colour", "label", n_classes),)), 256)
    one, other = encoder(Condition({"colour": torch.eye(n_classes)[:2]}))
    null = encoder(Condition({"colour": torch.zeros(1, n_classes)}, {"colour": torch.tensor([False])}))[0]
    between, absent = (one - other).norm(), (one - null).norm()
    assert 1 / 3 < between / absent < 3
    assert between / 256**0.5 > 0.2
