"""Models of what people like next: fitted on histories, updated by what is new, and able to forget a person."""

from personalgen.recommenders.options import RecommendOptions
from personalgen.recommenders.statistics import NextItemOptions

__all__ = ["NextItemOptions", "RecommendOptions"]
