import inspect

import pytest

from personalgen import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def ancestry(kind):
    """Return how far below the root a class stands."""
    return kind.__mro__.index(errors.PersonalgenError)


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    """Every class is drawn once, at the depth at which it stands."""
    drawn = {}
    for line in errors.__doc__.splitlines():
        words = line.replace("│", " ").replace("├──", "   ").replace("└──", "   ")
        name = words.split()[0] if words.split() else ""
        if name.endswith("Error"):
            assert name not in drawn
            drawn[name] = (len(words) - len(words.lstrip())) // 4 - 1
    assert drawn == {kind.__name__: ancestry(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_exit_code_says_who_can_mend_it(kind):
    """2 where the caller can, 1 where we must, 75 where the same command goes on, 65 where the data are odd."""
    expected = 2 if issubclass(kind, errors.UserError) else 1
    assert kind("x").exit_code == {errors.UnfinishedError: 75, errors.HealthError: 65}.get(kind, expected)


def test_no_error_is_both_the_callers_and_ours():
    """Below the root there are two branches that share nothing."""
    branches = [{kind for kind in KINDS if issubclass(kind, top)} for top in (errors.UserError, errors.InternalError)]
    assert branches[0] & branches[1] == set()
    assert branches[0] | branches[1] == set(KINDS) - {errors.PersonalgenError}
