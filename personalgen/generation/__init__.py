"""From preferences and a generator to sealed shards of images: plan, sampler, encoders, shards."""

from personalgen.generation.assets import AssetRow
from personalgen.generation.encoders import Encoder, choose_encoder
from personalgen.generation.options import GenerationOptions, OperatingPoint
from personalgen.generation.plan import (
    Plan,
    condition_bytes,
    condition_digest,
    condition_vector,
    make_plan,
    read_plan,
    write_plan,
)
from personalgen.generation.run import GenerationRequest, GenerationSummary, Preferences, generate_plan, generate_shard
from personalgen.generation.sampler import Sampler
from personalgen.generation.shards import SealedShard, read_member, sealed_but_unknown, sweep_temporaries

__all__ = [
    "AssetRow",
    "Encoder",
    "GenerationOptions",
    "GenerationRequest",
    "GenerationSummary",
    "OperatingPoint",
    "Plan",
    "Preferences",
    "Sampler",
    "SealedShard",
    "choose_encoder",
    "condition_bytes",
    "condition_digest",
    "condition_vector",
    "generate_plan",
    "generate_shard",
    "make_plan",
    "read_member",
    "read_plan",
    "sealed_but_unknown",
    "sweep_temporaries",
    "write_plan",
]
