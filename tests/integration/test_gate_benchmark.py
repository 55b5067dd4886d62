import json
import shutil

import numpy as np
import pytest
import torch

from benchmarks import gate
from personalgen.training import TrainingPairs

USERS = np.repeat([0, 1, 2], [2, 3, 1])


def pairs():
    """Return six pairs of three users; each condition names its user."""
    conditions = {"preference": USERS[:, None].astype(np.float32)}
    return TrainingPairs.of(np.zeros((6, 4, 4, 3), np.uint8), np.arange(6), USERS, of_pair=conditions)


def test_shuffled_users_are_told_of_somebody_else():
    """Nobody keeps a condition of their own, all pictures of a user go to one other, and each goes to another one."""
    before = pairs()
    told = gate.shuffled(before, seed=1).of_pair.values["preference"][:, 0].numpy().astype(int)
    assert not (told == USERS).any()
    followers = [set(told[user == USERS]) for user in range(3)]
    assert all(len(found) == 1 for found in followers)
    assert len(set.union(*followers)) == 3


def test_shuffling_leaves_the_pictures_where_they_are():
    """Which picture is of which user, and how many, is not touched; the seed decides the circle."""
    before = pairs()
    after = gate.shuffled(before, seed=1)
    for name in ("images", "image_of_pair", "start_of_pair", "count_of_pair"):
        assert torch.equal(getattr(after, name), getattr(before, name))
    again = gate.shuffled(before, seed=1)
    assert torch.equal(after.of_pair.values["preference"], again.of_pair.values["preference"])


def test_what_is_counted():
    """A worse challenger that is held as fit fell is told apart from one that is held for want of a figure."""
    fell = {"fit_diff": -0.2, "fit_low": -0.3, "fit_high": -0.1}
    tries = [
        gate.Try(0, gate.BETTER, promoted=True, reasons=(), paired={}),
        gate.Try(0, gate.WORSE, promoted=False, reasons=("fit",), paired=fell),
        gate.Try(1, gate.BETTER, promoted=False, reasons=(), paired={}),
        gate.Try(1, gate.WORSE, promoted=False, reasons=("missing",), paired={}),
    ]
    assert gate.flat(tries) == {
        "worse_tried": 2, "worse_held": 2, "worse_held_as_fit_fell": 1, "better_tried": 2, "better_promoted": 1
    }  # fmt: skip


@pytest.mark.timeout(300)
def test_one_call_tries_both_challengers(tmp_path, capsys, empty_tracking):
    """At a toy size: three verdicts with their reasons, and one flat object of counts."""
    path = tmp_path / "gate.json"
    for home in ("0", str(gate._OTHER_PEOPLE)):
        (tmp_path / "home" / home).mkdir(parents=True)
        shutil.copy(empty_tracking, tmp_path / "home" / home / "mlflow.db")
    arguments = ["--quick", "--tries", "1", "--home", str(tmp_path / "home"), "--json", str(path)]
    assert gate.main([*arguments, "--set", "world.history.n_users=150", "--set", "evaluation.n_users=24"]) == 0
    told = capsys.readouterr().out
    assert [line.split()[2] for line in told.splitlines() if line.startswith("seed 0")] == ["first", "better", "worse"]
    assert told.count("against the champion, interval") >= 2
    figures = json.loads(path.read_text())
    assert (figures["worse_tried"], figures["better_tried"]) == (1, 1)
