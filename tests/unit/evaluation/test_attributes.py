import json

import numpy as np
import pytest
import torch

from personalgen.errors import ArtifactError, DataError, OptionsError
from personalgen.evaluation.attributes import EstimatorOptions, cached_estimator, fit_estimator, reading_error
from personalgen.worlds import Attributes, FacesWorld, ShapesWorld, known_attributes

PX = 16
SMALL = EstimatorOptions(n_renders=2000, n_checked=200, epochs=3)
TINY = EstimatorOptions(n_renders=64, n_checked=8, epochs=1, width=8)


class Watched(ShapesWorld):
    """A world that must not show its own pictures."""

    def fresh(self, n_items, seed):
        return ShapesWorld().fresh(n_items, seed)

    def render(self, image_px):
        raise AssertionError(f"the catalogue was rendered at {image_px} px")


@pytest.fixture(scope="module")
def estimator():
    """An estimator of small pictures, fitted in about two seconds."""
    return fit_estimator(ShapesWorld(), image_px=PX, options=SMALL)


def test_a_small_budget_reads_most_of_what_pictures_show(estimator):
    """After 2,000 renders of 16 px: shapes, patterns and hues far above chance, which is 1/8, 1/4 and 90 degrees."""
    assert estimator.error.accuracy["category"] > 0.9
    assert estimator.error.accuracy["pattern"] > 0.75
    assert estimator.error.mean_degrees["hue"] < 15


def test_the_catalogue_is_read_as_well_as_fresh_renders(estimator):
    """The error that the estimator reports holds for pictures it was never shown: within 0.1 and 5 degrees.

    At a true accuracy of 0.9, samples of 200 and 512 pictures differ by more than 0.1 less than once in 10,000 pairs.
    """
    world = ShapesWorld()
    error = reading_error(estimator.read(world.render(PX)), known_attributes(world.items(), world.space))
    assert error.accuracy == pytest.approx(dict(estimator.error.accuracy), abs=0.1)
    assert error.mean_degrees["hue"] == pytest.approx(estimator.error.mean_degrees["hue"], abs=5)


def test_readings_have_the_form_of_what_is_known(estimator):
    """Probabilities of every value that sum to one, and degrees in [0, 360)."""
    world = ShapesWorld(8)
    read, known = estimator.read(world.render(PX)), known_attributes(world.items(), world.space)
    assert {name: value.shape for name, value in read.categories.items()} == {"category": (8, 8), "pattern": (8, 4)}
    assert all(value.sum(axis=1) == pytest.approx(1) for value in read.categories.values())
    assert read.angles["hue"].shape == known.angles["hue"].shape
    assert ((read.angles["hue"] >= 0) & (read.angles["hue"] < 360)).all()


def test_nothing_is_seen_in_a_blotch(estimator):
    """Of plain squares of one colour, fewer than one in ten is taken for a shape with a probability above 0.9."""
    colours = ShapesWorld(100).render(PX).mean(axis=(1, 2), keepdims=True)
    blotches = np.broadcast_to(colours, (100, PX, PX, 3)).astype(np.uint8)
    assert (estimator.read(blotches).categories["category"].max(axis=1) > 0.9).mean() < 0.1


def test_only_fresh_renders_are_learnt_from():
    """Fitting never draws the world's own pictures."""
    fit_estimator(Watched(16), image_px=8, options=TINY)


def test_an_estimator_is_a_function_of_its_arguments(estimator):
    """The same seed gives the same readings whatever was drawn before, another seed others; torch's stream is kept."""
    pictures = ShapesWorld(16).render(PX)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (
        fit_estimator(ShapesWorld(), image_px=PX, options=options).read(pictures).categories["category"]
        for options in (TINY, TINY, EstimatorOptions(**{**vars(TINY), "seed": 1}))
    )
    assert (torch.get_rng_state() == before).all()
    assert (one == same).all()
    assert (one != other).any()


def test_errors_go_around_the_circle():
    """359 and 1 degrees are 2 apart; accuracy counts the most probable value."""
    read = Attributes({"kind": np.array([[0.6, 0.4], [0.3, 0.7]])}, {"hue": np.array([359.0, 10.0])})
    known = Attributes({"kind": np.array([[1.0, 0.0], [1.0, 0.0]])}, {"hue": np.array([1.0, 20.0])})
    error = reading_error(read, known)
    assert error.metrics() == {"kind_accuracy": 0.5, "hue_error_degrees": pytest.approx(6)}


def test_errors_of_numbers_do_not():
    """0.95 and 0.05 are 0.9 apart; the mean goes by either sign."""
    read, known = (Attributes({}, {}, {"smile": np.array(values)}) for values in ([0.95, 0.4], [0.05, 0.5]))
    assert reading_error(read, known).metrics() == {"smile_error": pytest.approx(0.5)}


def test_a_number_that_cannot_be_seen_is_in_the_middle():
    """Of one grey for all, a net fitted on renders with and without a smile says neither."""
    estimator = fit_estimator(FacesWorld(), image_px=PX, options=SMALL)
    walls = np.broadcast_to(FacesWorld(50).render(PX)[:, :1, :1], (50, PX, PX, 3))
    assert estimator.read(walls).numbers["smile"].mean() == pytest.approx(0.5, abs=0.2)


def test_a_cached_estimator_is_read_not_fitted(tmp_path, monkeypatch):
    """The second call gives the same readings and error from safetensors and JSON; other options fit anew."""
    world, pictures = ShapesWorld(), ShapesWorld(16).render(8)
    first = cached_estimator(tmp_path, world, image_px=8, options=TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["estimator.json", "estimator.safetensors"]
    other = EstimatorOptions(**{**vars(TINY), "seed": 1})
    with monkeypatch.context() as patch:
        patch.delattr("personalgen.evaluation.attributes.fit_estimator")
        second = cached_estimator(tmp_path, world, image_px=8, options=TINY)
        with pytest.raises(NameError):
            cached_estimator(tmp_path, world, image_px=8, options=other)
    assert second.error == first.error
    assert (second.read(pictures).angles["hue"] == first.read(pictures).angles["hue"]).all()


def test_an_estimator_of_other_drawings_is_fitted_anew(tmp_path):
    """The space is the same, but the pictures, or what they are labelled, are not."""

    class Inverted(ShapesWorld):
        def draw(self, drawing, image_px):
            return 255 - super().draw(drawing, image_px)

    class Turned(ShapesWorld):
        def labels(self, drawing):
            return super().labels(drawing) | {"hue": f"{(drawing.hue + 180) % 360:.1f}"}

    made_of = []
    for world in (ShapesWorld(), Inverted(), Turned(), ShapesWorld(8)):
        cached_estimator(tmp_path, world, image_px=8, options=TINY)
        made_of.append(json.loads((tmp_path / "estimator.json").read_text())["made_of"])
    assert len(set(made_of)) == 3
    assert made_of[0] == made_of[3]


def test_changed_weights_are_refused(tmp_path):
    """Weights that are not those of the card are never loaded."""
    cached_estimator(tmp_path, ShapesWorld(), image_px=8, options=TINY)
    card = json.loads((tmp_path / "estimator.json").read_text())
    (tmp_path / "estimator.json").write_text(json.dumps(card | {"sha256": "0" * 64}))
    with pytest.raises(ArtifactError, match="changed after it was written"):
        cached_estimator(tmp_path, ShapesWorld(), image_px=8, options=TINY)


def test_pictures_of_another_size_are_refused(estimator):
    """The message says both sizes and that nothing was measured."""
    with pytest.raises(DataError, match=r"16 x 16 px, found an array \(4, 32, 32, 3\).*Nothing was measured"):
        estimator.read(ShapesWorld(4).render(32))


def test_impossible_options_are_refused():
    """Every fault is named at once."""
    with pytest.raises(OptionsError, match=r"n_renders must be at least 64.*lost_share must be in"):
        EstimatorOptions(n_renders=10, lost_share=2)
