"""A transformer over the newest likes: the baseline that learns order by gradient descent.

SASRec's encoder (Kang & McAuley, arXiv:1808.09781) with two later findings: each position is asked for one of the next
likes within a horizon instead of the very next one (the dense all-action objective of PinnerFormer, arXiv:2205.04507,
section 3.3), and the softmax over sampled items is corrected by how likely each was to be drawn (logQ; Yi et al.,
RecSys 2019), without which popular items are punished for being negatives more often.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from personalgen.bounds import check_options
from personalgen.histories import History
from personalgen.recommenders.base import LearntAnew, Matrix, likes_of


@dataclass(frozen=True)
class SequenceOptions:
    """Settings of the sequence encoder."""

    dim: int = 64
    """Columns of item and user vectors."""
    blocks: int = 2
    """Attention blocks."""
    heads: int = 2
    """Attention heads a block."""
    longest: int = 64
    """Newest likes that are read."""
    horizon: int = 2
    """Next likes among which a position's target is drawn; 1 is SASRec's objective."""
    negatives: int = 512
    """Items drawn for each batch, half by popularity and half evenly, against which its targets have to win."""
    dropout: float = 0.2
    """Share of numbers that are left out in training."""
    epochs: int = 10
    """How often each stretch of likes is seen."""
    batch_size: int = 64
    """Stretches a step."""
    learning_rate: float = 2e-3
    """Of Adam, after a warm-up of a tenth of the steps; it falls to zero by a half cosine."""
    seed: int = 0
    """Of weights and draws."""

    def __post_init__(self) -> None:
        """Refuse settings that give no encoder, all in one message."""
        least = {"dim": 1, "blocks": 1, "heads": 1, "longest": 2, "horizon": 1, "negatives": 1}
        fault = f"dim must be a multiple of heads, found {self.dim} and {self.heads}"
        check_options(
            "recommender",
            self,
            least=least | {"dropout": 0, "epochs": 1, "batch_size": 1},
            above={"learning_rate": 0},
            more=[fault] if self.dim % max(self.heads, 1) else [],
        )


class SequenceEncoder(LearntAnew):
    """Recommends by the product of item vectors and what a transformer makes of a person's newest likes."""

    name = "sequence"

    def __init__(self, options: SequenceOptions | None = None) -> None:
        """Wait for a fit."""
        self.options = options or SequenceOptions()
        self.item_ids: tuple[str, ...] = ()
        with torch.random.fork_rng(devices=[]):
            self._net = _Encoder(0, self.options)

    def fit(self, history: History) -> Self:
        """Train from scratch on all of a history."""
        options, likes = self.options, likes_of(history)
        self.item_ids = history.item_ids
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self._net = _Encoder(len(history.item_ids), options)
            stretches = _stretches(likes, options.longest + options.horizon)
            if len(stretches):
                _train(self._net, stretches, options)
        self._net.eval()
        return self

    @torch.inference_mode()
    def user_vectors(self, history: History) -> Matrix:
        """Return (n_users, dim) of the newest likes; zero without a like."""
        likes, longest = likes_of(history), self.options.longest
        out = np.zeros((len(history.user_ids), self.options.dim), dtype=np.float32)
        some = np.flatnonzero(np.diff(likes.bounds))
        for part in np.array_split(some, max(1, len(some) // 512)):
            rows = _newest(likes, part, longest)
            out[part] = self._net(torch.from_numpy(rows))[:, -1].numpy()
        return out

    def item_vectors(self) -> Matrix:
        """Return (n_items, dim)."""
        found: Matrix = self._net.item.weight.detach()[:-1].numpy().copy()
        return found


class _Encoder(nn.Module):
    """Attention over likes, oldest first and padded in front; a position sees itself and what came before."""

    def __init__(self, n_items: int, options: SequenceOptions) -> None:
        super().__init__()
        self.padding = n_items
        self.item = nn.Embedding(n_items + 1, options.dim, padding_idx=n_items)
        self.place = nn.Parameter(torch.zeros(options.longest, options.dim))
        nn.init.normal_(self.item.weight, std=0.02)
        with torch.no_grad():
            self.item.weight[n_items].zero_()
        nn.init.normal_(self.place, std=0.02)
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(_Block(options) for _ in range(options.blocks))
        self.norm = nn.LayerNorm(options.dim)

    def forward(self, items: Tensor) -> Tensor:
        """Return (B, n, dim) for (B, n) items, n at most `longest`; places count from the newest."""
        x = self.dropout(self.item(items) * self.item.embedding_dim**0.5 + self.place[-items.shape[1] :])
        n = items.shape[1]
        seen = torch.ones(n, n, dtype=torch.bool).tril() & (items != self.padding)[:, None]
        seen = (seen | torch.eye(n, dtype=torch.bool))[:, None]  # padding sees itself, or its row would be no number
        for block in self.blocks:
            x = block(x, seen)
        out: Tensor = self.norm(x)
        return out


class _Block(nn.Module):
    """Attention, then two layers for each position, both on normalised inputs and added."""

    def __init__(self, options: SequenceOptions) -> None:
        super().__init__()
        dim = options.dim
        self.heads, self.dropout = options.heads, options.dropout
        self.norm, self.mix, self.out = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.layers = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim), nn.Dropout(options.dropout)
        )

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        batch, n, dim = x.shape
        query, key, value = (
            self.mix(self.norm(x)).view(batch, n, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        )
        dropped = self.dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=dropped)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, n, dim))
        out: Tensor = x + self.layers(x)
        return out


def _train(net: _Encoder, stretches: NDArray[np.int64], options: SequenceOptions) -> None:
    """Train on (n, longest + horizon) stretches of likes, padded in front."""
    everything = torch.from_numpy(stretches)
    popularity = torch.bincount(everything.flatten(), minlength=net.padding + 1)[: net.padding].double()
    chance = (0.5 * popularity / popularity.sum() + 0.5 / net.padding).float()
    steps = options.epochs * -(-len(everything) // options.batch_size)
    optimizer = torch.optim.Adam(net.parameters(), lr=options.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False
    )
    net.train()
    for _ in range(options.epochs):
        for rows in torch.randperm(len(everything)).split(options.batch_size):
            loss = _loss(net, everything[rows], chance, options)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()


def _loss(net: _Encoder, stretch: Tensor, chance: Tensor, options: SequenceOptions) -> Tensor:
    """Return the mean cross-entropy of each position's target against sampled items."""
    n = options.longest
    items = stretch[:, :n]
    ahead = torch.randint(1, options.horizon + 1, items.shape)
    target = stretch.gather(1, torch.arange(n) + ahead)
    asked = (items != net.padding) & (target != net.padding)
    vectors, target = net(items)[asked], target[asked]
    drawn = torch.multinomial(chance, options.negatives, replacement=True)
    corrected = chance.log()
    own = (vectors * net.item(target)).sum(1, keepdim=True) - corrected[target][:, None]
    others = vectors @ net.item(drawn).T - corrected[drawn]
    others = others.masked_fill(drawn == target[:, None], -torch.inf)
    return nn.functional.cross_entropy(torch.cat([own, others], dim=1), torch.zeros(len(target), dtype=torch.int64))


def _stretches(likes: History, length: int) -> NDArray[np.int64]:
    """Return (n, length) item indices: everybody's likes cut into stretches from the newest back, padded in front."""
    parts = []
    counts = np.diff(likes.bounds)
    for back in range(0, int(counts.max(initial=0)), length):
        people = np.flatnonzero(counts > back + 1 if back == 0 else counts > back)
        parts.append(_newest(likes, people, length, back=back))
    return np.concatenate(parts) if parts else np.zeros((0, length), dtype=np.int64)


def _newest(likes: History, people: NDArray[np.int64], count: int, *, back: int = 0) -> NDArray[np.int64]:
    """Return (n_people, count) newest item indices, oldest first, `back` of the newest left out; padded in front."""
    place = likes.bounds[1:][people, None] - back - count + np.arange(count)
    there = place >= likes.bounds[:-1][people, None]
    return np.where(there, likes.item_index[np.maximum(place, 0)], len(likes.item_ids)) if there.size else place
