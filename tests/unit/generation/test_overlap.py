import threading
from contextvars import ContextVar

import numpy as np
import pytest
import torch

from personalgen.generation.encoders import Encoder, choose_encoder
from personalgen.generation.overlap import ENCODERS, OneBehind, encode_behind
from personalgen.generation.sampler import Drawing


def drawing(value, n=2):
    return Drawing((torch.full((n, 4, 4, 3), value, dtype=torch.uint8),), torch.tensor(data=True), None)


def test_calls_are_made_in_order_and_one_behind():
    """A second call begins once the first is done, while its caller went on after the first."""
    done, first_may_end, behind = [], threading.Event(), OneBehind()

    def slow():
        assert first_may_end.wait(30)
        done.append("first")

    with behind:
        behind.call(slow)
        assert done == []
        behind.check()  # not over, so nothing to tell
        first_may_end.set()
        behind.call(lambda: done.append("second"))
        assert done[0] == "first"
    assert done == ["first", "second"]


@pytest.mark.parametrize("error", [ValueError("disk"), KeyboardInterrupt()])
def test_what_a_call_raises_is_raised_before_the_next_one(error):
    """The very same exception, at the next call, at a check and at the end; nothing later is called."""

    def fail():
        raise error

    def run(*later):
        with OneBehind() as behind:
            behind.call(fail)
            for work in later:
                behind.call(work)

    calls = []
    for later in ([], [lambda: calls.append("later")]):
        with pytest.raises(type(error)) as caught:
            run(*later)
        assert caught.value is error
    assert calls == []


def test_a_failed_call_is_noticed_between_batches():
    """`check` raises as soon as the call is over, so that a shard is not drawn to its end for nothing."""

    def fail():
        raise OSError("full")

    def run():
        with OneBehind() as behind:
            behind.call(fail)
            while True:  # ends with the exception; the test's timeout is its bound
                behind.check()

    with pytest.raises(OSError, match="full"):
        run()


def test_an_error_of_the_caller_waits_for_the_call_behind_it():
    """What was begun is done when the error is seen, and it is the caller's error that is."""
    done = []

    def run():
        with OneBehind() as behind:
            behind.call(done.append, "sealed")
            raise RuntimeError("drawing")

    with pytest.raises(RuntimeError, match="drawing"):
        run()
    assert done == ["sealed"]


def test_calls_see_the_context_of_their_caller():
    """So that what they log belongs to the task that runs them."""
    name, seen = ContextVar("name", default="nobody"), []
    name.set("night")
    with OneBehind() as behind:
        behind.call(lambda: seen.append(name.get()))
    assert seen == ["night"]


def test_files_come_in_the_order_of_the_drawings():
    """Whichever thread is done first."""
    encoder = choose_encoder("png/zlib")
    values = list(range(40))
    expected = [file for value in values for file in encoder.encode(drawing(value).images())]
    assert encode_behind((drawing(value) for value in values), encoder) == expected
    assert encode_behind([], encoder) == []


def test_no_more_batches_wait_than_there_are_threads():
    """Memory is flat: the next batch is drawn only when an encoder is free."""
    begun, encoded, most = [], [], []

    def encode(images):
        encoded.append(len(images))
        return [b""] * len(images)

    def drawings():
        for value in range(50):
            most.append(len(begun) - len(encoded))
            begun.append(value)
            yield drawing(value)

    encode_behind(drawings(), Encoder("none", "png", encode))
    assert len(encoded) == 50
    assert max(most) <= ENCODERS + 1


def test_a_batch_that_cannot_be_encoded_ends_it():
    """With the error of the encoder, or of a generator that diverged."""
    broken = Drawing(drawing(1).pixels, torch.tensor(data=False), None)
    with pytest.raises(Exception, match="not finite"):
        encode_behind([drawing(1), broken, *map(drawing, range(9))], choose_encoder("png/zlib"))

    def encode(_images: np.ndarray) -> list[bytes]:
        raise MemoryError("encoder")

    with pytest.raises(MemoryError, match="encoder"):
        encode_behind(map(drawing, range(9)), Encoder("none", "png", encode))
