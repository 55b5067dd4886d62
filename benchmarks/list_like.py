"""A planted table of likes in the order of lists: people go through pages of a catalogue and like what they know there.

Public rating tables are of this kind: MovieLens shows people lists to rate, so that what is rated next follows from the
page, and only which pages are opened from taste. What is planted: pages (orders of items that share a topic), each
person's taste over topics, which drifts, popularity after Zipf, and content that tells of an item's topic and pages.

The defaults were set by the baselines: popularity, ALS, and ALS with a half-life reach about what they reach on
MovieLens-1M when everybody's last rating is held out (NDCG@10 .020, .051 and .112).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personalgen.histories import DAY_SEC, History

_START, _DAYS = 1_600_000_000, 1000


@dataclass(frozen=True)
class ListLike:
    """How large the table is, and how orderly its people are."""

    n_users: int = 6000
    n_items: int = 3700
    n_topics: int = 60
    page_size: int = 60
    likes_a_user: float = 160.0
    """Mean of a log-normal distribution, at least 20 as in MovieLens."""
    steps_a_page: float = 10.0
    """Mean likes before another page is opened."""
    known: float = 0.4
    """Chance that a person likes the item of middling popularity that a page shows; others are passed over."""
    disorder: float = 4.0
    """Standard deviation, in places, of where one person finds an item on a page."""
    stray: float = 0.3
    """Share of likes that no page led to: popular items of the person's topics."""
    zipf: float = 0.85
    """Exponent of popularity."""
    taste: float = 0.05
    """Concentration of the Dirichlet distribution of tastes over topics: the smaller, the narrower."""
    drift: float = 0.3
    """Share of a taste that another one has replaced by the end."""
    content_dim: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Planted:
    """A table and the truth behind it."""

    history: History
    """Everybody's likes in time order."""
    content: NDArray[np.float32]
    """(n_items, content_dim) features."""
    tastes: NDArray[np.float64]
    """(n_users, 2, n_topics): shares of topics at the beginning and at the end."""


def planted(options: ListLike) -> Planted:
    """Return the table of the options; the same ones, the same table."""
    rng = np.random.default_rng(options.seed)
    topic = rng.integers(0, options.n_topics, options.n_items)
    popularity = np.asarray((1.0 + rng.permutation(options.n_items)) ** -options.zipf, dtype=np.float64)
    pages, topic_of_page = _pages(topic, options, rng)
    walk = _Walk(options, topic, popularity, pages, topic_of_page)
    taste = rng.dirichlet(np.full(options.n_topics, options.taste), size=(options.n_users, 2))
    taste[:, 1] = options.drift * taste[:, 1] + (1 - options.drift) * taste[:, 0]
    users, items, times = [], [], []
    for user in range(options.n_users):
        count = int(max(20, rng.lognormal(np.log(options.likes_a_user) - 0.5, 1.0)))
        own = walk.likes(min(count, options.n_items // 3), taste[user], rng)
        start = rng.integers(0, _DAYS * DAY_SEC // 2)
        users.append(np.full(len(own), user))
        items.append(own)
        times.append(_START + start + np.cumsum(rng.exponential(DAY_SEC * _DAYS / 4 / len(own), len(own))).astype(int))
    index, shown, timestamp = (np.concatenate(columns).astype(np.int64) for columns in (users, items, times))
    history = History(
        tuple(f"u{k:05d}" for k in range(options.n_users)),
        tuple(f"i{k:05d}" for k in range(options.n_items)),
        index,
        shown,
        timestamp,
        np.ones(len(index), dtype=np.float32),
    )
    return Planted(history, _content(topic, pages, options, rng), taste)


def _pages(
    topic: NDArray[np.int64], options: ListLike, rng: np.random.Generator
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Return orders of items, each of one topic, and the topics; every item stands on two pages."""
    pages, topics = [], []
    for name in range(options.n_topics):
        for _ in range(2):
            order = rng.permutation(np.flatnonzero(topic == name))
            parts = np.array_split(order, max(1, round(len(order) / options.page_size)))
            pages += parts
            topics += [name] * len(parts)
    return pages, np.array(topics)


@dataclass(frozen=True)
class _Walk:
    """What people walk through."""

    options: ListLike
    topic: NDArray[np.int64]
    """(n_items,)."""
    popularity: NDArray[np.float64]
    """(n_items,)."""
    pages: list[NDArray[np.int64]]
    topic_of_page: NDArray[np.int64]

    def likes(self, count: int, taste: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return one person's likes, each item once: pages by the taste of the time, from anywhere on downwards."""
        options = self.options
        known = np.clip(options.known * self.popularity / np.median(self.popularity), 0.02, 0.95)
        stray = self.popularity * (taste.mean(0)[self.topic] + 0.02)
        strays = iter(rng.choice(len(stray), size=4 * count, p=stray / stray.sum()).tolist())
        walked: dict[int, None] = {}
        while len(walked) < count:
            share = len(walked) / count  # taste drifts from the first to the second
            chances = ((1 - share) * taste[0] + share * taste[1])[self.topic_of_page] + 1e-4
            page = self.pages[rng.choice(len(self.pages), p=chances / chances.sum())]
            page = page[np.argsort(np.arange(len(page)) + rng.normal(scale=options.disorder, size=len(page)))]
            shown = page[rng.integers(0, len(page)) :]
            liked = shown[rng.random(len(shown)) < known[shown]][: rng.geometric(1 / options.steps_a_page)]
            for item in liked.tolist():
                walked.setdefault(next(strays, item) if rng.random() < options.stray else item)
        return np.fromiter(walked, dtype=np.int64)[:count]


def _content(
    topic: NDArray[np.int64], pages: list[NDArray[np.int64]], options: ListLike, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return features in which topics and pages are directions, under noise as large as both."""
    of_topic = rng.normal(size=(options.n_topics, options.content_dim))
    content = of_topic[topic]
    for page in pages:
        content[page] += rng.normal(size=options.content_dim)
    return (content + rng.normal(scale=np.sqrt(3), size=content.shape)).astype(np.float32)
