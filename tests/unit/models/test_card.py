import json

import pytest
import torch

from personalgen.errors import ArtifactError
from personalgen.models import build_generator, load_card, load_generator, save_generator


@pytest.fixture
def generator(options, spec):
    """Return a fresh generator."""
    return build_generator(options, spec)


@pytest.fixture
def folder(tmp_path, generator):
    """Return a folder with a saved generator."""
    save_generator(tmp_path, generator, basis_version="b1", trained_kimg=1.5, facts={"night": "n"})
    return tmp_path


def edit_card(folder, **changes):
    """Change entries of a card on disk."""
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def test_a_generator_comes_back_bit_for_bit(folder, generator, condition, options):
    """Weights, options and specification; it is in evaluation mode and draws the same pictures."""
    loaded, card = load_generator(folder)
    assert not loaded.training
    assert (loaded.options, loaded.spec) == (generator.options, generator.spec)
    assert (card.basis_version, card.trained_kimg, card.facts) == ("b1", 1.5, {"night": "n"})
    z = torch.randn(8, options.z_dim)
    assert torch.equal(loaded(z, condition), generator(z, condition))


def test_the_written_card_is_the_one_that_is_read(tmp_path, generator):
    """Saving returns what loading gives."""
    card = save_generator(tmp_path, generator, basis_version="b1", trained_kimg=0.0)
    assert load_card(tmp_path) == card


def test_a_card_from_before_an_option_has_its_default(folder, condition):
    """Options that came later say what the nets were before them, so an older snapshot draws what it drew."""
    options = json.loads((folder / "card.json").read_text())["options"]
    for name in ("block", "expansion"):
        del options[name]
    edit_card(folder, options=options)
    loaded, card = load_generator(folder)
    assert card.options.block == "dense"
    assert loaded(torch.randn(8, card.options.z_dim), condition).shape == (8, 3, 8, 8)


def test_the_digest_names_the_weights(tmp_path, generator):
    """The same weights have the same digest in every folder; one other weight has another; it fits a signed column."""
    save = {"basis_version": "b1", "trained_kimg": 1.0}
    cards = [save_generator(tmp_path / name, generator, **save) for name in ("a", "b")]
    with torch.no_grad():
        generator.basis[0, 0, 0, 0] += 1e-3
    other = save_generator(tmp_path / "c", generator, **save)
    assert cards[0].generator_digest == cards[1].generator_digest != other.generator_digest
    assert 0 <= other.generator_digest < 2**63
    assert f"{other.generator_digest:016x}"[1:] == other.generator_sha256[1:16]


def test_memory_layout_does_not_change_the_digest(tmp_path, generator):
    """Weights with channels last, as trained, are saved like any other."""
    save = {"basis_version": "b1", "trained_kimg": 1.0}
    plain = save_generator(tmp_path / "a", generator, **save)
    assert save_generator(tmp_path / "b", generator.to(memory_format=torch.channels_last), **save) == plain


def test_changed_weights_are_refused(folder):
    """One flipped byte in the weights is an ArtifactError, and nothing is loaded."""
    path = folder / "generator.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="changed after it was written"):
        load_generator(folder)


def test_a_card_of_another_net_is_refused(folder):
    """Weights that do not fit the options of the card are told from damaged ones."""
    edit_card(folder, options=json.loads((folder / "card.json").read_text())["options"] | {"width": 4, "max_width": 4})
    with pytest.raises(ArtifactError, match="does not hold the weights that"):
        load_generator(folder)


@pytest.mark.parametrize("change", [{"surprise": 1}, {"options": {"resolution": 8, "surprise": 1}}])
def test_a_card_of_another_version_is_refused(folder, change):
    """Entries that this version does not know are an ArtifactError that names the file."""
    edit_card(folder, **change)
    with pytest.raises(ArtifactError, match=r"card\.json .*surprise"):
        load_card(folder)


def test_a_card_without_an_entry_is_refused(folder):
    """A missing entry is an ArtifactError as well."""
    (folder / "card.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"card\.json "):
        load_card(folder)


def test_a_folder_without_card_or_weights_is_refused(tmp_path, folder):
    """Both files are needed, and the message names the one that is missing."""
    (folder / "generator.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"generator\.safetensors is missing"):
        load_generator(folder)
    with pytest.raises(ArtifactError, match=r"card\.json does not exist"):
        load_generator(tmp_path / "none")
