import hashlib
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from personalgen.catalogue.facts import generator_digest
from personalgen.models.card import ModelCard


@given(st.binary())
def test_the_generator_digest_is_the_card_s(data):
    """Catalogue and model card derive the same non-negative 63-bit key from the weights' sha256."""
    card = SimpleNamespace(generator_sha256=hashlib.sha256(data).hexdigest())
    digest = generator_digest(card.generator_sha256)
    assert digest == ModelCard.generator_digest.fget(card)
    assert 0 <= digest < 2**63


def test_the_top_bit_is_cleared():
    """A digest of all ones is the largest signed 64-bit number."""
    assert generator_digest("f" * 64) == 2**63 - 1
