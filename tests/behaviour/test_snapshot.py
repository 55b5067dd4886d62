"""The snapshot in the repository is what its card says, and its card says what it must."""

from pathlib import Path

import pytest

from personalgen.config import load_settings
from personalgen.embeddings import load_basis
from personalgen.models import load_card, load_generator
from personalgen.tables import split_of
from personalgen.worlds import OpenMojiWorld

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = ROOT / "snapshots" / "openmoji32"


@pytest.fixture(scope="module")
def card():
    return load_card(SNAPSHOT)


def test_the_weights_are_those_of_the_card():
    """The digest in the card is that of the weights, and they fit the nets it describes."""
    generator, card = load_generator(SNAPSHOT)
    assert generator.resolution == card.options.resolution == 32


def test_every_judge_and_test_item_of_the_catalogue_was_held_out(card):
    """The card lists exactly the catalogue's items whose split is not train."""
    held_out = {item_id for item_id in OpenMojiWorld().items().item_ids if split_of(item_id) != "train"}
    assert set(card.facts["items_held_out"]) == held_out
    assert len(held_out) > 400


def test_the_basis_was_fitted_without_held_out_items(card):
    """No item with learned factors is a held-out one, and the generator declares this basis."""
    basis = load_basis(SNAPSHOT)
    assert basis.version == card.basis_version
    assert {split_of(item_id) for item_id in basis.item_ids} == {"train"}


def test_the_demo_can_start_from_it(card):
    """Sizes and embedding of the demo's config are the snapshot's, so that the warm start is used."""
    settings = load_settings(ROOT / "configs" / "demo.toml")
    assert settings.model == card.options
    assert settings.embeddings == load_basis(SNAPSHOT).options


def test_nobody_of_the_demo_was_seen(card):
    """The demo's people were drawn with another seed than the snapshot's: other tastes, other ids."""
    ours, theirs = load_settings(ROOT / "configs" / "demo.toml").world.history, card.facts["history"]
    world = OpenMojiWorld()
    drawn = ((ours.n_users, ours.seed), (theirs["n_users"], theirs["seed"]))
    people = [set(world.sample_users(*each).user_ids) for each in drawn]
    assert not people[0] & people[1]
    assert min(map(len, people)) >= 1000


def test_the_card_holds_the_commands_that_made_it(card):
    """Each stage of all four trainings, with configs that are in the repository and places relative to it."""
    commands, facts = [], card.facts
    while facts:
        commands, facts = [*facts["commands"], *commands], facts["start"]
    verbs = ["prepare", "embed", "train", "models snapshot"] * 4
    assert [command.partition(" ")[2][: len(verb)] for command, verb in zip(commands, verbs, strict=True)] == verbs
    for command in commands:
        words = command.split()
        assert (ROOT / words[words.index("--config") + 1]).is_file()
        assert "/" not in {word.rpartition("=")[2][:1] for word in words}


def test_the_card_names_its_licence_and_says_that_users_are_simulated(card):
    """Attribution travels with the weights."""
    assert "CC BY-SA 4.0" in card.facts["licence"]
    assert "simulated" in card.facts["licence"]
