from dataclasses import FrozenInstanceError, fields

import pytest

from personalgen import evaluation
from personalgen.errors import ConfigError
from personalgen.evaluation import EvaluationOptions


def test_defaults_are_valid_and_frozen():
    """The defaults pass their own checks and cannot be changed afterwards."""
    with pytest.raises(FrozenInstanceError):
        EvaluationOptions().seed = 1


def test_all_faults_come_in_one_message():
    """Two settings out of range are named together, with what was found."""
    with pytest.raises(
        ConfigError, match=r"batch_size must be at least 1, found 0.*confidence must be in .* found 1\.5"
    ):
        EvaluationOptions(batch_size=0, confidence=1.5)


@pytest.mark.parametrize("name", [field.name for field in fields(EvaluationOptions)])
def test_every_number_has_a_least_value(name):
    """No setting accepts minus one."""
    several = isinstance(getattr(EvaluationOptions(), name), tuple)
    with pytest.raises(ConfigError, match=name):
        EvaluationOptions(**{name: (-1.0,) if several else -1})


def test_public_names():
    """The package's public names are these: a change is a decision, not an accident."""
    expected = """
        Agreement AttributeEstimator COLOUR CONTENT Choice Comparison ContentJudge CurvePoint
        DescriptorJudge Diversity EstimatorError EstimatorOptions Evaluation EvaluationOptions
        FEATURE_DIM Figure FrechetDistance HistorySimilarity Identification Interval JUDGE_NET Judge
        JudgeFeatures MIN_USERS MS_SSIM Manifold ManifoldWithControl Memorisation Mifid OwnAndOthers
        PairMeasure Panel Pictures PlantedFit PlantedSelection PlantedYardstick PositionBias
        PreferenceGain ReportPicture ReportPlot Retrieval SSIM STYLE ScoreOptions SecondOpinion
        SegmentFigure Selection SheetRow Spread Strengths TEXTURE TrainingSide Truth VoterAgreement
        Yardstick agreement between_difference bradley_terry build_yardstick cached_estimator
        choose_point compare comparison_figures contact_sheet content_and_style curve_svg diversity
        evaluation_figures fit_difference fit_estimator frechet_distance frechet_with_floor grid
        history_similarity identify judge_features kid kid_floor manifold manifold_with_control
        mean_interval measure memorisation mifid_with_control of_users own_scores pair_picture png_bytes
        position_bias preference_gain reading_error reference_items retrieve segment_figures
        segment_rows select_held_out select_planted true_utility_scores user_means voter_agreement
        win_rate write_png write_report
    """
    assert " ".join(sorted(evaluation.__all__)) == " ".join(expected.split())
    assert all(hasattr(evaluation, name) for name in evaluation.__all__)
