"""Who liked what how much: decayed sums by user and item, and everybody's newest events, kept from night to night."""

from personalgen.affinity.events import Ids
from personalgen.affinity.options import AffinityOptions
from personalgen.affinity.rows import AffinityRows, Sums
from personalgen.affinity.state import AffinityState

__all__ = ["AffinityOptions", "AffinityRows", "AffinityState", "Ids", "Sums"]
