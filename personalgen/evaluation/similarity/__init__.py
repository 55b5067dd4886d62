"""How alike two pictures are, in structure, colour, texture, content and style; and users' pictures and histories."""

from personalgen.evaluation.similarity.colour import COLOUR, lab_quantiles
from personalgen.evaluation.similarity.history import HistorySimilarity, OwnAndOthers, history_similarity
from personalgen.evaluation.similarity.pair import PairMeasure
from personalgen.evaluation.similarity.perception import CONTENT, STYLE
from personalgen.evaluation.similarity.structure import MS_SSIM, SSIM, ms_ssim_weights
from personalgen.evaluation.similarity.texture import TEXTURE, pattern_histograms

__all__ = [
    "COLOUR",
    "CONTENT",
    "MS_SSIM",
    "SSIM",
    "STYLE",
    "TEXTURE",
    "HistorySimilarity",
    "OwnAndOthers",
    "PairMeasure",
    "history_similarity",
    "lab_quantiles",
    "ms_ssim_weights",
    "pattern_histograms",
]
