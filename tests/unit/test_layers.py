"""What import-linter cannot see: imports at module level, names of modules, length of files, docstrings of tests."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("personalgen", "flows")
LIGHT = ("models", "training", "generation", "embeddings", "recommenders")
LIGHT_MAY_IMPORT = {"numpy", "pandas", "personalgen", "pyarrow", "safetensors", "scipy", "sklearn", "torch"}
VAGUE = {"common", "helpers", "misc", "util", "utils"}
LONGEST_FILE = 400


def sources(*folders):
    """Return every Python file below the folders, relative to the root."""
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def parsed(path):
    """Return the syntax tree of one file."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported_at_module_level(tree):
    """Yield the full names that a module imports when it is itself imported."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting.extend(
                child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler)
            )


def file_of(module):
    """Return the file of one of our modules, None where the name is no module of ours."""
    stem = Path(*module.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if module.split(".")[0] in PACKAGES and (ROOT / path).is_file()), None)


def needed_by(path):
    """Return {third-party top-level name: our file that imports it} for everything that importing `path` loads."""
    seen, needed, waiting = set(), {}, [path]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for name in imported_at_module_level(parsed(current)):
            parts = name.split(".")
            ours = {file_of(".".join(parts[:n])) for n in range(1, len(parts) + 1)} - {None}
            waiting.extend(ours)
            if not ours and parts[0] not in {*sys.stdlib_module_names, "personalgen", "flows"}:
                needed.setdefault(parts[0], str(current))
    return needed


@pytest.mark.parametrize("path", sources(*(f"personalgen/{name}" for name in LIGHT)), ids=str)
def test_light_packages_need_only_the_numeric_stack(path):
    """Importing one of LIGHT loads no third-party package but the numeric ones."""
    needed = needed_by(path)
    assert {name: where for name, where in needed.items() if name not in LIGHT_MAY_IMPORT} == {}


def test_module_level_imports_are_told_from_lazy_ones():
    """The walker sees imports in classes, branches and try blocks, not those in functions or for types only."""
    tree = ast.parse(
        "import a\n"
        "try:\n    import b\nexcept ImportError:\n    import c\n"
        "if True:\n    from d import e\n"
        "if TYPE_CHECKING:\n    import x\n"
        "class K:\n    import f\n    def m(self):\n        import y\n"
        "def g():\n    import z\n"
    )
    assert set(imported_at_module_level(tree)) == {"a", "b", "c", "d", "d.e", "f"}


def test_no_module_has_a_vague_name():
    """No module is named for nothing in particular."""
    assert [str(path) for path in sources(*PACKAGES) if {path.stem, *path.parts} & VAGUE] == []


def test_no_file_is_too_long():
    """A file of ours has at most 400 lines."""
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in sources(*PACKAGES)}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_every_test_states_its_fact():
    """Each test function has a docstring."""
    silent = [
        f"{path}:{node.lineno} {node.name}"
        for path in sources("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []
