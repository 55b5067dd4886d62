"""Whether a night trains: the stated rule. A pure function of what is new since the champion was trained."""

from dataclasses import dataclass

from personalgen.bounds import check_options


@dataclass(frozen=True)
class RetrainOptions:
    """When a night trains. Each value above 0 is a reason to; with all at 0 every night trains."""

    min_new_likes: int = 0
    """Likes of training people that are new since the champion was trained."""
    min_new_share: float = 0.0
    """The same as a share of all their likes."""
    min_new_items: int = 0
    """Training items that are new since then."""
    max_days: float = 0.0
    """Days from the champion's night to tonight's."""

    def __post_init__(self) -> None:
        """Refuse what nothing can reach, all in one message."""
        counts = dict.fromkeys(("min_new_likes", "min_new_items", "max_days"), 0)
        check_options("retrain", self, least=counts, shares=("min_new_share",))


@dataclass(frozen=True)
class SinceTraining:
    """What is new tonight since the champion was trained."""

    champion: str
    """As people know it, for example "v3"."""
    new_likes: int
    """Of training people, on training items."""
    likes: int
    """All of these."""
    new_items: int
    days: float
    differs: str = ""
    """Why the champion is not what tonight's settings would train, in words; empty where it is."""


@dataclass(frozen=True)
class Due:
    """Whether to train, and why."""

    train: bool
    because: str


def is_due(since: SinceTraining | None, options: RetrainOptions) -> Due:
    """Return whether to train tonight: as nothing is live (None), as something differs, or as enough is new."""
    if since is None:
        return Due(train=True, because="nothing is live yet")
    if since.differs:
        return Due(train=True, because=since.differs)
    share = since.new_likes / max(since.likes, 1)
    measured = (
        (since.new_likes, options.min_new_likes, f"{since.new_likes:,} new likes of training people", "min_new_likes"),
        (share, options.min_new_share, f"{share:.2%} of their likes are new", "min_new_share"),
        (since.new_items, options.min_new_items, f"{since.new_items:,} new training items", "min_new_items"),
        (since.days, options.max_days, f"{since.days:.3g} days", "max_days"),
    )
    asked = [(value >= least, f"{told}, retrain.{name} is {least:,}") for value, least, told, name in measured if least]
    if not asked:
        return Due(train=True, because="every night trains: no value of retrain is set")
    reasons = [told for reached, told in asked if reached]
    told = "; ".join(reasons or [told for _, told in asked])
    return Due(train=bool(reasons), because=f"since {since.champion} was trained: {told}")
