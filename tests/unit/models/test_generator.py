import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.models import ModelOptions, TensorGenerator, build_generator


@pytest.fixture
def generator(options, spec):
    """Return a fresh generator."""
    return build_generator(options, spec)


@pytest.fixture
def z(options):
    """Return eight latents."""
    return torch.randn(8, options.z_dim, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("resolution", [8, 16, 64])
def test_pictures_have_the_models_resolution(spec, condition, resolution):
    """(B, 3, R, R) float32 with a stage for each doubling above 4 px."""
    options = ModelOptions(resolution=resolution, z_dim=6, style_dim=16, width=4, max_width=8)
    generator = build_generator(options, spec)
    images = generator(torch.randn(8, 6), condition)
    assert (images.shape, images.dtype) == ((8, 3, resolution, resolution), torch.float32)
    assert list(generator.stages) == [f"px{8 << k}" for k in range(options.n_stages)]
    assert (generator.z_dim, generator.resolution, generator.spec) == (6, resolution, spec)


def test_first_pictures_are_neither_flat_nor_wild(generator, z, condition):
    """Before training, pixels spread over about [-1, 1]."""
    assert 0.1 < float(generator(z, condition).detach().std()) < 3


def test_both_z_and_condition_decide_the_picture(generator, z, condition):
    """With one of them fixed the pictures still differ."""
    same_z = generator(z[:1].expand(8, -1), condition)
    same_condition = generator(z, condition.take([0] * 8))
    assert float(same_z.detach().std(0).mean()) > 1e-2
    assert float(same_condition.detach().std(0).mean()) > 1e-2


def test_a_row_depends_on_its_own_inputs_alone(generator, z, condition):
    """The net has no batch statistics: one by one gives what the batch gives."""
    together = generator(z, condition)
    alone = torch.cat([generator(z[k : k + 1], condition.take([k])) for k in range(8)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_length_of_z_does_not_matter_to_the_style(generator, z, condition):
    """The style has unit variance, so a far z gives a picture of the same contrast."""
    near, far = (generator(scale * z, condition).detach() for scale in (1, 100))
    assert float(far.std()) < 3 * float(near.std())


def test_weights_depend_on_the_seed_alone(options, spec):
    """The same seed builds the same net, another seed another."""
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        nets.append(build_generator(options, spec).state_dict())
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
    assert not torch.equal(nets[0]["basis"], nets[2]["basis"])


def test_every_weight_is_learned(generator, z, condition):
    """Each parameter gets a gradient, the absent field's row included."""
    generator(z, condition.drop(torch.tensor([True, False] * 4))).square().sum().backward()
    without = [name for name, weight in generator.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_the_exported_form_draws_the_same_pictures_clipped(generator, z, condition):
    """Plain tensors: z, the values in the order of the specification, what is present."""
    plain, present = TensorGenerator(generator), torch.tensor([True, False] * 4)
    assert plain.input_names == ("z", "taste", "taste_present")
    images = plain(3 * z, condition.values["taste"], present)
    torch.testing.assert_close(images, generator(3 * z, condition.drop(~present)).clamp(-1, 1))


def test_a_missing_or_surplus_value_is_refused(generator, z, condition):
    """The exported form takes one value and one mask per field."""
    with pytest.raises(ValueError, match="zip"):
        TensorGenerator(generator)(z, condition.values["taste"])


def test_the_null_condition_is_what_training_drops_to(generator, z, spec):
    """A dropped row and the null condition draw the same picture: guidance subtracts what was trained."""
    dropped = Condition.vector("taste", torch.randn(8, 5)).drop(torch.ones(8, dtype=torch.bool))
    assert torch.equal(generator(z, dropped), generator(z, spec.null_condition(8)))


EVERYTHING = ConditionSpec(
    (
        FieldSpec("taste", "vector", 5),
        FieldSpec("behaviour", "sequence", 4, longest=3),
        FieldSpec("colour", "label", 6),
        FieldSpec("interests", "set", 2, longest=2),
    )
)


@pytest.mark.parametrize("spec", [EVERYTHING, ConditionSpec(())], ids=["every kind", "unconditional"])
def test_every_kind_of_field_is_a_plain_tensor_of_the_exported_form(options, spec):
    """A value and a mask a field, elements absent too; torch.export keeps the batch size free, also without fields."""
    torch.manual_seed(0)
    generator = build_generator(options, spec).eval()
    plain = TensorGenerator(generator).eval()
    example, given = plain.example_inputs(), plain.example_inputs(5, seed=1)
    batch = {0: torch.export.Dim.DYNAMIC}
    shapes = (batch, *([(batch,) * 2 * len(spec.fields)] if spec.fields else []))
    program = torch.export.export(plain, example, dynamic_shapes=shapes).module()
    z, values, masks = given[0], given[1 : 1 + len(spec.fields)], given[1 + len(spec.fields) :]
    condition = Condition.none(5)
    if spec.fields:
        condition = Condition(dict(zip(spec.names, values, strict=True)), dict(zip(spec.names, masks, strict=True)))
    expected = generator(z, condition).clamp(-1, 1)
    torch.testing.assert_close(plain(*given), expected)
    torch.testing.assert_close(program(*given), expected, atol=1e-5, rtol=1e-5)
