"""Is a picture good, and is it made for its user? Fidelity and personal fit, each beside its control.

Takes arrays, returns frozen dataclasses. The judge's net is imported here and nowhere else.
"""

from personalgen.evaluation.agreement import Agreement, agreement
from personalgen.evaluation.attributes import (
    AttributeEstimator,
    EstimatorError,
    EstimatorOptions,
    cached_estimator,
    fit_estimator,
    reading_error,
)
from personalgen.evaluation.blind import pair_picture
from personalgen.evaluation.curve_plot import curve_svg
from personalgen.evaluation.descriptor_judge import DescriptorJudge
from personalgen.evaluation.diversity import Diversity, Spread, between_difference, diversity
from personalgen.evaluation.features import FEATURE_DIM, JUDGE_NET, JudgeFeatures, content_and_style, judge_features
from personalgen.evaluation.fidelity import FrechetDistance, frechet_distance, frechet_with_floor, kid, kid_floor
from personalgen.evaluation.figures import Figure, comparison_figures, evaluation_figures, segment_rows
from personalgen.evaluation.identification import Identification, identify
from personalgen.evaluation.interval import Interval, mean_interval
from personalgen.evaluation.judge import ContentJudge, Judge, Pictures
from personalgen.evaluation.manifold import Manifold, ManifoldWithControl, manifold, manifold_with_control
from personalgen.evaluation.measure import Evaluation, SecondOpinion, measure
from personalgen.evaluation.memorisation import Memorisation, Mifid, memorisation, mifid_with_control
from personalgen.evaluation.operating_curve import CurvePoint, choose_point
from personalgen.evaluation.options import MIN_USERS, EvaluationOptions, ScoreOptions
from personalgen.evaluation.paired import Comparison, compare, fit_difference
from personalgen.evaluation.pairwise import (
    Choice,
    PositionBias,
    Strengths,
    VoterAgreement,
    bradley_terry,
    position_bias,
    voter_agreement,
)
from personalgen.evaluation.planted import (
    PlantedFit,
    PlantedSelection,
    PlantedYardstick,
    select_planted,
    true_utility_scores,
)
from personalgen.evaluation.preference import PreferenceGain, preference_gain
from personalgen.evaluation.report import ReportPicture, ReportPlot, write_report
from personalgen.evaluation.retrieval import Retrieval, retrieve
from personalgen.evaluation.segments import SegmentFigure, segment_figures, user_means
from personalgen.evaluation.selection import Selection, reference_items, select_held_out
from personalgen.evaluation.sheet import SheetRow, contact_sheet, grid, png_bytes, write_png
from personalgen.evaluation.similarity import (
    COLOUR,
    CONTENT,
    MS_SSIM,
    SSIM,
    STYLE,
    TEXTURE,
    HistorySimilarity,
    OwnAndOthers,
    PairMeasure,
    history_similarity,
)
from personalgen.evaluation.truth import Truth
from personalgen.evaluation.win_rate import own_scores, win_rate
from personalgen.evaluation.yardstick import Panel, TrainingSide, Yardstick, build_yardstick, of_users

__all__ = [
    "COLOUR",
    "CONTENT",
    "FEATURE_DIM",
    "JUDGE_NET",
    "MIN_USERS",
    "MS_SSIM",
    "SSIM",
    "STYLE",
    "TEXTURE",
    "Agreement",
    "AttributeEstimator",
    "Choice",
    "Comparison",
    "ContentJudge",
    "CurvePoint",
    "DescriptorJudge",
    "Diversity",
    "EstimatorError",
    "EstimatorOptions",
    "Evaluation",
    "EvaluationOptions",
    "Figure",
    "FrechetDistance",
    "HistorySimilarity",
    "Identification",
    "Interval",
    "Judge",
    "JudgeFeatures",
    "Manifold",
    "ManifoldWithControl",
    "Memorisation",
    "Mifid",
    "OwnAndOthers",
    "PairMeasure",
    "Panel",
    "Pictures",
    "PlantedFit",
    "PlantedSelection",
    "PlantedYardstick",
    "PositionBias",
    "PreferenceGain",
    "ReportPicture",
    "ReportPlot",
    "Retrieval",
    "ScoreOptions",
    "SecondOpinion",
    "SegmentFigure",
    "Selection",
    "SheetRow",
    "Spread",
    "Strengths",
    "TrainingSide",
    "Truth",
    "VoterAgreement",
    "Yardstick",
    "agreement",
    "between_difference",
    "bradley_terry",
    "build_yardstick",
    "cached_estimator",
    "choose_point",
    "compare",
    "comparison_figures",
    "contact_sheet",
    "content_and_style",
    "curve_svg",
    "diversity",
    "evaluation_figures",
    "fit_difference",
    "fit_estimator",
    "frechet_distance",
    "frechet_with_floor",
    "grid",
    "history_similarity",
    "identify",
    "judge_features",
    "kid",
    "kid_floor",
    "manifold",
    "manifold_with_control",
    "mean_interval",
    "measure",
    "memorisation",
    "mifid_with_control",
    "of_users",
    "own_scores",
    "pair_picture",
    "png_bytes",
    "position_bias",
    "preference_gain",
    "reading_error",
    "reference_items",
    "retrieve",
    "segment_figures",
    "segment_rows",
    "select_held_out",
    "select_planted",
    "true_utility_scores",
    "user_means",
    "voter_agreement",
    "win_rate",
    "write_png",
    "write_report",
]
