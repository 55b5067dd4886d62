"""The scripts in examples/ run, and do what they say."""

import shutil

import numpy as np
import pytest

from examples import blind_choices
from examples.one_model import N_IMAGES, main

QUESTIONS = ["any picture", "red", "this text", "for this person", "this text for this person"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_model_answers_five_questions(tmp_path, empty_tracking):
    """After seconds of training pictures that were asked to be red are redder, for a person too; a sheet is written."""
    shutil.copy(empty_tracking, tmp_path)
    pictures = main(str(tmp_path), ["world.history.n_users=120", "train.max_kimg=4", "train.snapshot_kimg=100"])
    assert list(pictures) == QUESTIONS
    assert {images.shape for images in pictures.values()} == {(N_IMAGES, 16, 16, 3)}
    assert (tmp_path / "one_model.png").is_file()
    red = {question: redness(images) for question, images in pictures.items()}
    assert red["red"] > red["any picture"]
    assert red["this text for this person"] > red["for this person"]


def redness(images):
    """Return how much more red than green and blue there is."""
    means = images.astype(np.float64).mean(axis=(0, 1, 2))
    return means[0] - means[1:].mean()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_blind_choices_become_strengths(tmp_path, empty_tracking):
    """Every pair is chosen in, the two strengths mirror each other, and the rows came from a notebook."""
    for home in ("first", "second"):
        (tmp_path / home).mkdir()
        shutil.copy(empty_tracking, tmp_path / home)
    quick = ["world.history.n_users=120", "train.max_kimg=2", "evaluation.bootstrap=200", "evaluation.permutations=200"]
    found = blind_choices.main(str(tmp_path), quick)
    assert found.n_choices == found.n_people >= 8
    assert set(found.strengths) == {"challenger", "snapshot"}
    assert found.strengths["challenger"].value == pytest.approx(-found.strengths["snapshot"].value)
    assert found.preferred.low < found.preferred.value < found.preferred.high
