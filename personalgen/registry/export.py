"""A generator as MLflow's pt2 model: torch.export behind a tensor signature, nothing pickled."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personalgen.errors import RegistryError
from personalgen.registry.store import prepare_environment

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature


TOLERANCE = 1e-3
"""How far an exported picture may be from the original, in units of [-1, 1]: an eighth of a grey level of 256."""


@dataclass(frozen=True, eq=False)
class Exportable:
    """A module of plain tensors and an example of its inputs."""

    module: nn.Module
    """In evaluation mode; positional tensors in, one tensor of images out. Noise is an input, not drawn inside."""
    example_inputs: tuple[Tensor, ...]
    """At least two rows each: torch.export would take a batch of one for a constant."""
    input_names: tuple[str, ...]

    def check(self) -> None:
        """Do nothing where the module can be exported.

        Raises:
            RegistryError: it is in training mode, an example has one row, or a name is missing.
        """
        rows = {len(value) for value in self.example_inputs}
        if self.module.training or len(rows) != 1 or min(rows) < 2 or len(self.input_names) != len(self.example_inputs):
            raise RegistryError(
                f"a model to register needs eval mode (training={self.module.training}), examples of one batch size of "
                f"at least 2 (found {sorted(rows)}) and a name per input ({len(self.input_names)} names for "
                f"{len(self.example_inputs)} inputs). Nothing was registered."
            )


def save_pt2(export: Exportable, folder: Path, *, mlflow_model: "Model") -> None:
    """Write the module as an MLflow model in `folder`, which must not exist yet, and check that it can be read back.

    Raises:
        RegistryError: the export draws other images, or only batches of the example's size.
    """
    prepare_environment()
    import mlflow.pytorch

    release = torch.__version__.partition("+")[0]
    mlflow.pytorch.save_model(
        NamedInputs(export.module, export.input_names).eval(),
        str(folder),
        mlflow_model=mlflow_model,
        signature=signature_of(export),
        input_example=export.example_inputs,
        serialization_format="pt2",
        pip_requirements=[f"torch=={release}"],
    )
    _check_round_trip(export, load_pt2(str(folder)))


def signature_of(export: Exportable) -> "ModelSignature":
    """Return the tensor signature: the example's dtypes and shapes with a free batch size."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    with torch.inference_mode():
        images = export.module(*export.example_inputs)
    inputs = [_tensor_spec(value, name) for value, name in zip(export.example_inputs, export.input_names, strict=True)]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([_tensor_spec(images, "images")]))


def load_pt2(model_uri: str) -> nn.Module:
    """Return the exported module behind an MLflow model URI or folder, already in evaluation mode."""
    prepare_environment()
    import mlflow.pytorch

    module: nn.Module = mlflow.pytorch.load_model(model_uri)
    return module


def _check_round_trip(export: Exportable, loaded: nn.Module) -> None:
    """Raise RegistryError where `loaded` differs from the module on a batch of another size than the example's."""
    inputs = [torch.cat([value, value[:1]]) for value in export.example_inputs]
    try:
        with torch.inference_mode():
            expected, found = export.module(*inputs), loaded(*inputs)
    except (AssertionError, RuntimeError) as error:
        raise RegistryError(
            f"the exported model refuses a batch of {len(inputs[0])} rows ({error}): its forward turned the batch size "
            "into a constant, for example by len(tensor); use tensor.shape[0]. Nothing was registered."
        ) from error
    if not torch.allclose(expected, found, atol=TOLERANCE):
        worst = (expected - found).abs().max().item()
        raise RegistryError(
            f"the exported model draws other images (off by up to {worst:.3g}). Nothing was registered."
        )


class NamedInputs(nn.Module):
    """A module under a forward of fixed, named arguments: torch.export cannot pair `*values` with dynamic shapes."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module

        def forward(*values: Tensor) -> Tensor:
            images: Tensor = module(*values)
            return images

        arguments = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        forward.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]  # read by torch.export
        self.forward = forward


def _tensor_spec(value: Tensor, name: str) -> Any:
    """Return MLflow's description of one tensor."""
    from mlflow.types import TensorSpec

    array = value.detach().cpu().numpy()
    return TensorSpec(array.dtype, (-1, *array.shape[1:]), name)
