"""Seeds that depend on names only, so that a rerun, another model or another night draws the same z."""

import hashlib

import torch

MAX_SEED = 2**63 - 1


def derive_seed(user_id: str, variant: int = 0) -> int:
    """Return a seed in [0, 2**63) from the canonical user id and the variant, the same on every machine."""
    digest = hashlib.blake2b(f"{variant}\x1f{user_id}".encode(), digest_size=8, person=b"personalgen-z").digest()
    return int.from_bytes(digest, "big") & MAX_SEED


def draw_z(seeds: list[int], z_dim: int) -> torch.Tensor:
    """Return (len(seeds), z_dim) float32 standard normal rows; row k depends on seeds[k] alone.

    Drawn on the CPU whatever the device of the model, so that devices agree on z.
    """
    rows = [torch.randn(z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, z_dim)
