"""How a state is laid out and how fast it forgets."""

from dataclasses import dataclass

from personalgen.bounds import check_options


@dataclass(frozen=True)
class AffinityOptions:
    """Settings of an affinity state; they are fixed when it is built."""

    half_life_days: float = 30.0
    """Age at which an event weighs half."""
    n_recent: int = 200
    """Newest events of each user that are kept one by one."""
    n_buckets: int = 64
    """Files that users are spread over by their key; one of them is in memory at a time."""

    def __post_init__(self) -> None:
        """Refuse a layout that holds nothing, all in one message."""
        check_options(
            "affinity", self, least={"n_recent": 0}, above={"half_life_days": 0}, choices={"n_buckets": _POWERS_OF_TWO}
        )


_POWERS_OF_TWO = tuple(2**k for k in range(13))
