"""MLflow behind the project's words: runs, model versions, and the gate that a challenger must pass."""

from personalgen.registry.export import Exportable
from personalgen.registry.models import ModelRegistry, ModelVersion
from personalgen.registry.promotion import Difference, Figures, GateOptions, PairedDifference, Verdict, decide
from personalgen.registry.run import Run
from personalgen.registry.tracking import Tracking

__all__ = [
    "Difference",
    "Exportable",
    "Figures",
    "GateOptions",
    "ModelRegistry",
    "ModelVersion",
    "PairedDifference",
    "Run",
    "Tracking",
    "Verdict",
    "decide",
]
