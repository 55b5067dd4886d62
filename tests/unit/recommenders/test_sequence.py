import numpy as np
import pytest
import torch

from personalgen.errors import OptionsError
from personalgen.histories import History
from personalgen.recommenders.sequence import SequenceEncoder, SequenceOptions, _Encoder, _stretches

OPTIONS = SequenceOptions(dim=16, heads=2, blocks=1, longest=8, horizon=1, epochs=30, batch_size=16, negatives=64)


def history(sequences, n_items=10):
    """Return people who liked these items in this order."""
    users = np.repeat(np.arange(len(sequences)), [len(items) for items in sequences])
    items = np.array([item for items in sequences for item in items], dtype=np.int64)
    times = np.arange(len(items))
    names = tuple(f"u{k}" for k in range(len(sequences)))
    return History(names, tuple(f"i{k}" for k in range(n_items)), users, items, times, np.ones(len(items), np.float32))


def test_order_is_learnt():
    """Where items follow each other in a circle, the next one stands first for nearly everybody."""
    starts = np.random.default_rng(0).integers(0, 10, 200)
    walks = [[int(k) for k in (start + np.arange(7)) % 10] for start in starts]
    scores = SequenceEncoder(OPTIONS).fit(history(walks)).scores(history(walks))
    nearest = scores.argmax(1)
    assert np.mean(nearest == (starts + 7) % 10) > 0.9


def test_a_place_sees_nothing_later():
    """The vector at a place is the same whatever follows it, and other if what precedes it is another."""
    torch.manual_seed(0)
    net = _Encoder(10, OPTIONS).eval()
    items = torch.tensor([[10, 10, 1, 2, 3, 4, 5, 6]])
    later, earlier = items.clone(), items.clone()
    later[0, 6:], earlier[0, 3] = 9, 9
    with torch.inference_mode():
        out, after, before = net(items), net(later), net(earlier)
    assert torch.allclose(out[:, :6], after[:, :6], atol=1e-6)
    assert not torch.allclose(out[:, 5], before[:, 5], atol=1e-3)


def test_padding_is_not_seen():
    """A short history gets the same vector as if there were no room for more."""
    torch.manual_seed(0)
    net = _Encoder(10, OPTIONS).eval()
    with torch.inference_mode():
        padded, short = net(torch.tensor([[10] * 5 + [1, 2, 3]])), net(torch.tensor([[1, 2, 3]]))
    assert torch.allclose(padded[:, -1], short[:, -1], atol=1e-6)


def test_stretches_hold_each_like_once():
    """From the newest back; a lone like, which has nothing after it, is left out where it is all there is."""
    found = _stretches(history([[0, 1, 2, 3, 4], [7], [5, 6]]), 3)
    assert sorted(tuple(row) for row in found.tolist()) == [(2, 3, 4), (10, 0, 1), (10, 5, 6)]


def test_the_same_seed_gives_the_same_vectors():
    """Whatever torch drew before; the global random state stays."""
    people = history([[0, 1, 2, 3], [3, 4, 5]])
    options = SequenceOptions(dim=8, longest=4, epochs=2)
    one = SequenceEncoder(options).fit(people).item_vectors()
    torch.rand(7)
    before = torch.get_rng_state()
    assert np.array_equal(SequenceEncoder(options).fit(people).item_vectors(), one)
    assert torch.equal(torch.get_rng_state(), before)


def test_heads_that_do_not_divide_are_refused():
    """In one message, with what was found."""
    with pytest.raises(OptionsError, match=r"dim must be a multiple of heads, found 10 and 4.*epochs|epochs.*dim must"):
        SequenceOptions(dim=10, heads=4, epochs=0)
