"""How many images for whom, and the operating point at which a generator is asked for them."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from personalgen.artifacts import canonical_json, short_digest
from personalgen.bounds import check_options

MAX_VARIANTS = 99
ENCODERS = (
    "png/fpng",
    "png/isal",
    "png/zlib",
    "webp/pillow",
    "jpeg95/simplejpeg",
    "jpeg95/pillow",
)
"""Format and package, as recorded with every shard; the packages of a format from the fastest to the slowest.

png and webp are lossless, jpeg95 is not (quality 95, 4:4:4, about 38 dB): its files are half as long as PNG's.
"""
FORMATS = tuple(dict.fromkeys(name.partition("/")[0] for name in ENCODERS))


@dataclass(frozen=True)
class OperatingPoint:
    """What, besides model, condition and z, decides the content of an image."""

    guidance: float = 1.0
    """1 = the plain condition; above 1 the image is pushed away from the unconditional one; 0 = unconditional."""
    truncation_psi: float = 1.0
    """Factor on z; 1 = none."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """By field of the condition: 0 = as if absent, 1 = as it is (also where a field is not named), above 1 = more."""

    def digest(self) -> int:
        """Return 63 bits that name this point, part of every asset's natural key; a strength of 1 is none."""
        content: dict[str, object] = {"guidance": float(self.guidance), "truncation_psi": float(self.truncation_psi)}
        if strengths := {name: float(value) for name, value in self.strengths.items() if value != 1}:
            content["strengths"] = strengths
        return short_digest(canonical_json(content).encode())

    def among(self, names: Collection[str]) -> "OperatingPoint":
        """Return the point for a model that has only these fields."""
        return replace(self, strengths={name: value for name, value in self.strengths.items() if name in names})


@dataclass(frozen=True)
class Floor:
    """How far one person's pictures are to be from each other at least."""

    min_distance: float
    """In (0, 1], of `apart.distances`."""
    redraws: int
    """Further z's that are tried for a picture that is too near; the farthest of all stands."""


@dataclass(frozen=True)
class GenerationOptions:
    """Options of the generate stage."""

    variants: int = 1
    """Images per user, each from its own z."""
    likes_per_image: int = 6
    """Each further image of a user (`variants` above 1) is told of so many random likes; 0: all of everything."""
    min_distance: float = 0.0
    """How far a user's images are to be from each other at least, as the mean absolute difference of their 8 x 8
    means, in [0, 1]: a nearer one is drawn again from another z. 0: each stands as it is drawn."""
    redraws: int = 4
    """How often, at most, an image is drawn again; the farthest of all stands, be it too near or not."""
    batch_size: int = 64
    """Images per pass of the generator; the last batch is padded to it, so that a redo gives the same bits."""
    shard_size: int = 2048
    """Users per tar shard, the unit of redo."""
    min_shift: float = 0.05
    """Cosine distance from the condition of a user's current asset above which the user counts as changed."""
    guidance: float = 1.0
    """1 = the plain condition; above 1 the image is pushed away from the unconditional one."""
    truncation_psi: float = 1.0
    """Factor on z; 1 = none, smaller gives safer and more alike images."""
    strengths: dict[str, float] = field(default_factory=dict)
    """How strongly each field of the condition is heard, by its name: 1 as it is, 0 not at all, above 1 more."""
    encoder: str = "auto"
    """Image encoder: png or webp (both lossless) or jpeg95 (smaller, not lossless), by the fastest package that is
    installed; or one of png/fpng, png/isal, png/zlib, webp/pillow, jpeg95/simplejpeg and jpeg95/pillow. auto is png."""
    regenerate_all: bool = False
    """Plan every user, however little the preference moved; an image of exactly this preference is never made twice."""

    def __post_init__(self) -> None:
        """Refuse values that no night can run with, all at once."""
        check_options(
            "generation",
            self,
            least={
                "variants": 1,
                "likes_per_image": 0,
                "redraws": 0,
                "batch_size": 1,
                "shard_size": 1,
                "min_shift": 0,
                "guidance": 0,
                "truncation_psi": 0,
            },
            shares=("min_distance",),
            choices={"encoder": ("auto", *FORMATS, *ENCODERS)},
            more=[
                *(
                    [f"variants must be at most {MAX_VARIANTS}, which member names can count, found {self.variants}"]
                    if self.variants > MAX_VARIANTS
                    else []
                ),
                *(
                    f"strengths.{name} must be at least 0, found {value}"
                    for name, value in self.strengths.items()
                    if not (math.isfinite(value) and value >= 0)
                ),
            ],
        )

    @property
    def floor(self) -> Floor | None:
        """How far apart one person's images are to be, None where any distance will do."""
        return (
            Floor(self.min_distance, self.redraws) if self.min_distance and self.redraws and self.variants > 1 else None
        )

    @property
    def operating_point(self) -> OperatingPoint:
        """The part that decides the content of an image."""
        return OperatingPoint(self.guidance, self.truncation_psi, dict(self.strengths))
