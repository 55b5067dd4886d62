"""A generator as an ONNX file, for servers without torch; drawn with and compared before anybody gets it."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personalgen.artifacts import write_bytes
from personalgen.errors import RegistryError
from personalgen.registry.export import TOLERANCE, Exportable, NamedInputs

_INSTALL = "pip install 'personalgen[onnx]'"


def save_onnx(export: Exportable, path: Path, *, facts: Mapping[str, str]) -> float:
    """Write the module as one ONNX file with a free batch size; return how far its pictures are from torch's at most.

    `facts` become the file's metadata. The check draws with onnxruntime on the CPU, at batch sizes other than the
    example's, before `path` exists.

    Raises:
        RegistryError: the extra `onnx` is missing, `export` is not ready, or the file draws other pictures.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter needs it, and says so less clearly
    except ImportError as error:
        raise RegistryError(f"{error.name} is missing; install it: {_INSTALL}. Nothing was written.") from error
    export.check()
    model = _converted(export)
    onnx.helper.set_model_props(model, dict(facts))
    written = model.SerializeToString()
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    worst = max(_distance(export, session, n_rows) for n_rows in (1, len(export.example_inputs[0]) + 1))
    if not worst <= TOLERANCE:
        raise RegistryError(f"the ONNX model draws other images (off by up to {worst:.3g}). Nothing was written.")
    write_bytes(path, written)
    return worst


def _converted(export: Exportable) -> Any:
    """Return the module as an onnx.ModelProto."""
    with _quiet():
        try:
            program: Any = torch.onnx.export(
                NamedInputs(export.module, export.input_names).eval(),
                export.example_inputs,
                input_names=list(export.input_names),
                output_names=["images"],
                dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in export.input_names),
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise RegistryError(f"the generator has no ONNX form: {error}. Nothing was written.") from error
    return program.model_proto


def _distance(export: Exportable, session: Any, n_rows: int) -> float:
    """Return the largest difference of a pixel between torch and the session, in units of [-1, 1]."""
    inputs = [torch.cat([value, value[:1]])[-n_rows:] for value in export.example_inputs]
    with torch.inference_mode():
        expected = export.module(*inputs).numpy()
    names = zip(export.input_names, inputs, strict=True)
    (found,) = session.run(None, {name: value.numpy() for name, value in names})
    return float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporter from listing libraries that are not installed and its own deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
