import pytest
import torch

from personalgen.threads import torch_threads


def test_the_number_of_threads_is_restored():
    """Inside there are so many, and afterwards as many as before, also after a failure."""
    before = torch.get_num_threads()

    def fail():
        with torch_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before
