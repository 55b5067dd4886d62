"""What a night makes of what people like next: tables of items and neighbours, and how it measures them."""

from dataclasses import dataclass

from personalgen.bounds import check_options


@dataclass(frozen=True)
class RecommendOptions:
    """Settings of the night's recommendations."""

    top_items: int = 10
    """Items that are recommended to each user with a like; 0 leaves the table empty."""
    neighbours: int = 10
    """Most similar items of each item, and users of each user; 0 leaves both tables empty."""
    neighbours_up_to: int = 50_000
    """Users, and items, above which no table of their neighbours is made: its cost grows with their square."""
    ranked_people: int = 2_000
    """People whose held-out likes are ranked, for the night's figures; 0 measures nothing."""
    later_share: float = 0.1
    """Last share of all likes that is held out where the night before is not known, or brought fewer."""

    def __post_init__(self) -> None:
        """Refuse what no night can do, all in one message."""
        fault = f"later_share must be above 0 and below 1, found {self.later_share}"
        least = {"top_items": 0, "neighbours": 0, "neighbours_up_to": 0, "ranked_people": 0}
        check_options("recommend", self, least=least, more=[] if 0 < self.later_share < 1 else [fault])
