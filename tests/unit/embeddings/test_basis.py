import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from personalgen.embeddings import EmbeddingOptions, fit_basis, load_basis, save_basis
from personalgen.embeddings.basis import encoder_name, fit_content, fit_factor_map, fit_factors
from personalgen.errors import ArtifactError
from personalgen.recommenders import NextItemOptions

ARRAYS = ("content_mean", "content_map", "factor_map", "item_factors", "center", "scale")
SNAPSHOT = Path(__file__).parents[3] / "snapshots" / "openmoji32"


@pytest.fixture
def saved(tmp_path, basis):
    """Return a folder with a saved basis."""
    save_basis(tmp_path, basis)
    return tmp_path


def test_content_is_whitened(features):
    """Projected training features have zero mean and the identity as covariance."""
    mean, content_map = fit_content(features, EmbeddingOptions(content_dim=5))
    white = (features - mean) @ content_map
    assert white.mean(0) == pytest.approx(np.zeros(5), abs=1e-5)
    assert white.T @ white / len(white) == pytest.approx(np.eye(5), abs=1e-4)


def test_components_beyond_the_rank_stay_zero():
    """Three items span two directions; the other columns are zero, not noise blown up."""
    features = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)
    mean, content_map = fit_content(features, EmbeddingOptions(content_dim=5))
    white = (features - mean) @ content_map
    assert np.abs(white[:, :2]).max() > 0.1
    assert not content_map[:, 2:].any()


def test_factors_tell_camps_apart_and_have_unit_variance():
    """Two groups of users who like two groups of items: the second factor separates the items."""
    likes = sp.csr_matrix(np.kron(np.eye(2), np.ones((10, 5))))
    factors = fit_factors(likes, 2)
    assert factors.std(0) == pytest.approx([1, 1], rel=1e-3)
    within = np.abs(factors[:5] - factors[:5].mean(0)).max()
    assert np.abs(factors[:5].mean(0) - factors[5:].mean(0)).max() > 10 * within


def test_factors_that_the_likes_cannot_give_are_zero():
    """Two users cannot carry three factors."""
    factors = fit_factors(sp.csr_matrix(np.array([[1.0, 0, 2], [0, 1, 1]])), 3)
    assert factors.shape == (3, 3)
    assert factors[:, 0].any()
    assert not factors[:, 1:].any()


def test_the_factor_map_is_ridge_regression():
    """It solves (C'C + I) M = C'F, and recovers a linear relation from many items."""
    rng = np.random.default_rng(0)
    content, truth = rng.normal(size=(2000, 4)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    fitted = fit_factor_map(content, content @ truth)
    assert fitted == pytest.approx(truth, abs=0.01)
    few = fit_factor_map(content[:3], content[:3] @ truth)
    gram = content[:3].T @ content[:3] + np.eye(4)
    assert gram @ few == pytest.approx(content[:3].T @ content[:3] @ truth, abs=1e-4)


def test_item_vectors_have_two_halves_of_unit_length(basis, past, features):
    """(n, dim) float32; content and factors weigh the same."""
    vectors = basis.item_vectors(features, past.item_ids)
    assert (vectors.shape, vectors.dtype) == ((12, 6), np.float32)
    for half in (vectors[:, :4], vectors[:, 4:]):
        assert np.linalg.norm(half, axis=1) == pytest.approx(np.ones(12), abs=1e-5)


def test_an_item_is_the_same_in_every_catalogue(basis, past, features):
    """Known items are found by id: a reordered or shorter catalogue moves rows, not values."""
    whole = basis.item_vectors(features, past.item_ids)
    order = np.array([7, 0, 3])
    part = basis.item_vectors(features[order], tuple(past.item_ids[k] for k in order))
    assert part == pytest.approx(whole[order], abs=1e-6)


def test_a_new_item_gets_its_factors_from_its_content(basis, past, features):
    """An unknown id with the pictures of a camp lies nearer to that camp than to the other, in both halves."""
    whole = basis.item_vectors(features, past.item_ids)
    new = basis.item_vectors(features[:1], ("never seen",))[0]
    for half in (slice(0, 4), slice(4, 6)):
        similar = whole[:, half] @ new[half]
        assert similar[:6].mean() > similar[6:].mean()


def test_few_likes_do_not_make_factors(make_history, features, options):
    """An item with two likes is none with learned factors; with three it is."""
    events = [(user, item, user, 1.0) for item, count in enumerate([3, 2, 5, 4]) for user in range(count)]
    basis = fit_basis(make_history(events), features, np.ones(12, dtype=bool), options)
    assert basis.item_ids == ("i00", "i02", "i03")
    assert basis.item_factors.shape == (3, 2)


def test_the_version_is_a_function_of_the_content(basis, past, features, options):
    """Fitting again gives the same version; the numbers are deterministic."""
    again = fit_basis(past, features, np.ones(12, dtype=bool), options)
    assert again.version == basis.version
    assert len(basis.version) == 32


@pytest.mark.parametrize("name", ARRAYS)
def test_the_version_changes_with_any_number(basis, name):
    """The smallest change of one value in one array is another basis."""
    array = getattr(basis, name).copy()
    array.flat[-1] = np.nextafter(array.flat[-1], np.float32(np.inf))
    assert dataclasses.replace(basis, **{name: array}).version != basis.version


@pytest.mark.parametrize(
    "change",
    [{"encoder": "other"}, {"item_ids": ("x",) * 12}, {"options": EmbeddingOptions(shrinkage=9.0)}],
    ids=["encoder", "items", "options"],
)
def test_the_version_changes_with_all_else(basis, change):
    """Options, encoder and item ids are part of the identity too."""
    assert dataclasses.replace(basis, **change).version != basis.version


def test_a_basis_comes_back_as_it_was(saved, basis):
    """Version, options, ids and every array."""
    loaded = load_basis(saved)
    assert loaded.version == basis.version
    assert (loaded.options, loaded.encoder, loaded.item_ids) == (basis.options, basis.encoder, basis.item_ids)
    assert all(np.array_equal(getattr(loaded, name), getattr(basis, name)) for name in ARRAYS)


def test_changed_arrays_are_refused(saved):
    """An array file that the card does not describe is an ArtifactError."""
    path = saved / "basis.safetensors"
    arrays = load_file(path)
    save_file(arrays | {"center": arrays["center"] + 1}, path)
    with pytest.raises(ArtifactError, match=r"basis\.safetensors is missing or is not the one"):
        load_basis(saved)


@pytest.mark.parametrize("change", [{"encoder": "other"}, {"item_ids": ["x"] * 12}])
def test_a_changed_card_is_refused(saved, change):
    """A card whose version is not that of its content is an ArtifactError: vectors would mean something else."""
    path = saved / "basis.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=r"basis\.json"):
        load_basis(saved)


def test_a_missing_file_is_refused(saved):
    """Both files are needed."""
    (saved / "basis.safetensors").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        load_basis(saved)
    with pytest.raises(ArtifactError, match="does not exist"):
        load_basis(saved / "none")


def test_the_encoder_name_says_what_the_features_are():
    """Another input size or text width is another encoder; sizes of the basis itself are not."""
    names = {encoder_name(EmbeddingOptions(**change)) for change in ({}, {"feature_px": 96}, {"text_dim": 8})}
    assert len(names) == 3
    assert encoder_name(EmbeddingOptions(content_dim=3)) == encoder_name(EmbeddingOptions())


# --- maps of the field collaborative ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mapped(past, features, options):
    """Return a basis with maps."""
    return fit_basis(past, features, np.ones(12, dtype=bool), options, next_item=NextItemOptions(ridge=1.0))


def test_maps_change_nothing_else(mapped, basis):
    """Every other number is that of the basis without them; the version is another one."""
    assert all(np.array_equal(getattr(mapped, name), getattr(basis, name)) for name in ARRAYS)
    assert mapped.version != basis.version
    assert dataclasses.replace(mapped, maps=None).version == basis.version


def test_maps_come_back_as_they_were(mapped, tmp_path):
    """Half-life, window and every array, under the same version."""
    save_basis(tmp_path, mapped)
    loaded = load_basis(tmp_path)
    assert loaded.version == mapped.version
    assert loaded.maps.facts() == {"half_life": 5.0, "window": 24}
    assert all(np.array_equal(loaded.maps.arrays()[name], array) for name, array in mapped.maps.arrays().items())


@pytest.mark.parametrize("name", ["half_life", "window", "of_items", "of_content", "center", "scale"])
def test_the_version_changes_with_any_part_of_the_maps(mapped, name):
    """They are covered by the version as all else is."""
    maps = dataclasses.replace(mapped.maps, **{name: getattr(mapped.maps, name) + 1})
    assert dataclasses.replace(mapped, maps=maps).version != mapped.version


def test_changed_facts_of_the_maps_are_refused(mapped, tmp_path):
    """Another half-life in the card is an ArtifactError."""
    save_basis(tmp_path, mapped)
    path = tmp_path / "basis.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"collaborative": {"half_life": 9.0, "window": 24}}))
    with pytest.raises(ArtifactError, match=r"basis\.json was changed"):
        load_basis(tmp_path)


def test_a_basis_of_before_is_read(basis):
    """The shipped snapshot's basis, written before there were maps, has its version still."""
    old = load_basis(SNAPSHOT)
    assert old.maps is None
    assert old.version == json.loads((SNAPSHOT / "basis.json").read_text())["version"]


def test_when_it_was_fitted_is_written_down_beside_it(basis, tmp_path):
    """The day comes back and is no part of the version; a basis of before has none."""
    dated = dataclasses.replace(basis, fitted_as_of="2026-01-01T00:00:00+00:00")
    save_basis(tmp_path, dated)
    assert load_basis(tmp_path).fitted_as_of == "2026-01-01T00:00:00+00:00"
    assert dated.version == basis.version
    assert load_basis(SNAPSHOT).fitted_as_of == ""


# --- priors -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_priors(basis):
    """Return a basis with estimated pseudo-events and two segments."""
    means = np.arange(12, dtype=np.float32).reshape(2, 6)
    pseudo = np.array([2.0, 3.0], dtype=np.float32)
    return dataclasses.replace(basis, pseudo_events=pseudo, segments=("a", "b"), segment_means=means)


def test_priors_come_back_as_they_were(with_priors, tmp_path):
    """Names, means and numbers, under the same version."""
    save_basis(tmp_path, with_priors)
    loaded = load_basis(tmp_path)
    assert (loaded.version, loaded.segments) == (with_priors.version, ("a", "b"))
    assert np.array_equal(loaded.segment_means, with_priors.segment_means)
    assert np.array_equal(loaded.pseudo_events, with_priors.pseudo_events)


def test_the_version_changes_with_the_priors(basis, with_priors):
    """Each of them is covered."""
    changes = [
        {"pseudo_events": with_priors.pseudo_events + 1},
        {"segments": ("a", "c")},
        {"segment_means": with_priors.segment_means + 1},
    ]
    versions = {dataclasses.replace(with_priors, **change).version for change in changes}
    assert len(versions | {basis.version, with_priors.version}) == 5


def test_changed_segments_are_refused(with_priors, tmp_path):
    """Segments under other names are an ArtifactError."""
    save_basis(tmp_path, with_priors)
    path = tmp_path / "basis.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"segments": ["b", "a"]}))
    with pytest.raises(ArtifactError, match=r"basis\.json was changed"):
        load_basis(tmp_path)


def test_a_prior_is_the_segments_or_the_populations(basis, with_priors, past):
    """By name; who has no segment, one that is not known, or none in the table is the population."""
    segments = ("b", None, "", "new", "a", *[None] * 25)
    means, pseudo = with_priors.priors_of(dataclasses.replace(past, segments=segments))
    center = basis.center.tolist()
    assert means[:5].tolist() == [[*range(6, 12)], center, center, center, [*range(6)]]
    assert pseudo.tolist() == [2, 2, 2, 2, 3, 3]
    for found in (with_priors.priors_of(past), basis.priors_of(dataclasses.replace(past, segments=segments))):
        assert (found[0] == basis.center).all()
    assert basis.priors_of(past)[1].tolist() == [1] * 6


def test_texts_have_the_set_share_of_the_variance():
    """Whitened as if their columns had been scaled before; 0 leaves them as they come, which may be nothing."""
    rng = np.random.default_rng(0)
    features = np.concatenate([10 * rng.normal(size=(200, 6)), 0.1 * rng.normal(size=(200, 3))], axis=1)
    features = features.astype(np.float32)
    plain, weighed = (
        EmbeddingOptions(content_dim=4, text_dim=3, text_weight=weight, collaborative_dim=0) for weight in (0.0, 2.0)
    )
    assert np.abs(fit_content(features, plain)[1][6:]).max() < 1e-3
    variance = features.var(0)
    scaled = features.copy()
    scaled[:, 6:] *= np.sqrt(2 * variance[:6].sum() / variance[6:].sum())
    one, other = ((x - x.mean(0)) @ fit_content(x, o)[1] for x, o in ((features, weighed), (scaled, plain)))
    assert np.allclose(np.abs(one), np.abs(other), atol=1e-3)


def test_sentences_are_another_encoder():
    """Features of words are not taken for those of sentences; settings of before keep their identity."""
    assert encoder_name(EmbeddingOptions(text="sentences")) != encoder_name(EmbeddingOptions())
    assert EmbeddingOptions(text="sentences").text_columns == 384
    assert "text_weight" not in EmbeddingOptions().identity()
