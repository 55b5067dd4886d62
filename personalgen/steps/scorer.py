"""How much a picture is to a user's taste by what training knows, differentiable: what a search in z climbs."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalgen.embeddings import Basis, ContentNet, PreferenceTable
from personalgen.embeddings.content import FEATURE_DIM
from personalgen.generation.maximise import Score


def preference_score(basis: Basis, table: PreferenceTable, rows: NDArray[np.int64]) -> Score:
    """Return the cosine between the content of row k's user, `rows[k]` of the table, and the content of a picture."""
    net, content = ContentNet(basis.options.feature_px), basis.halves[0]
    # a feature's further columns come from texts, which a generated picture has none of
    mean, project = (
        torch.from_numpy(basis.content_mean[:FEATURE_DIM]),
        torch.from_numpy(basis.content_map[:FEATURE_DIM]),
    )
    center, scale = torch.from_numpy(basis.center[content]), torch.from_numpy(basis.scale[content])
    taste = torch.nn.functional.normalize(torch.from_numpy(table.vectors[rows][:, content]), dim=1)

    def score(images: Tensor, places: Tensor) -> Tensor:
        item = torch.nn.functional.normalize((net(images) - mean) @ project, dim=1)
        return (torch.nn.functional.normalize((item - center) / scale, dim=1) * taste[places]).sum(dim=1)

    return score
