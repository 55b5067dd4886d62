import copy
import itertools

import pytest
import torch

from personalgen.conditions import ConditionSpec
from personalgen.training import speed
from personalgen.training.speed import Speed, Stopwatch, flops_per_image, peak_flops

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """Return a one-element list that holds the monotonic time."""
    now = [0.0]
    monkeypatch.setattr(speed.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def watch(make_trainer, monkeypatch):
    """Return a stopwatch of 1,000 images to be trained on in batches of eight, at 3 FLOP each of 600 FLOP/s."""
    monkeypatch.setattr(speed, "flops_per_image", lambda _trainer: 3.0)
    monkeypatch.setattr(speed, "peak_flops", lambda *_: 600.0)
    return Stopwatch(make_trainer(), 1000)


def run(watch, clock, steps, seconds):
    """Take so many steps of so many seconds, with as long a pause after each."""
    for _ in range(steps):
        watch.start()
        clock[0] += seconds
        watch.stop()
        clock[0] += seconds


def test_the_first_twenty_steps_are_no_speed(watch, clock):
    """There is no figure, and what they took does not count."""
    run(watch, clock, 20, 100.0)
    assert watch.read() is None
    assert watch.metrics() == {}
    assert watch.text() == ""
    run(watch, clock, 1, 0.5)
    assert watch.read().img_per_sec == pytest.approx(16)


def test_speed_is_that_of_steps_alone(watch, clock):
    """Images over the seconds of steps, without the pauses; the share of the peak; the rest of the images to go."""
    run(watch, clock, 20, 9.0)
    run(watch, clock, 10, 0.25)
    watch._trainer.state.seen_img = 200
    assert watch.read() == pytest.approx(Speed(img_per_sec=32, mfu=32 * 3 / 600, eta_sec=25))
    assert watch.metrics() == pytest.approx({"img_per_sec": 32, "mfu": 0.16, "eta_min": 25 / 60})
    assert watch.text() == "MFU 16%"


def test_nothing_is_to_go_after_the_end(watch, clock):
    """A last batch beyond the total leaves no negative time."""
    run(watch, clock, 21, 1.0)
    watch._trainer.state.seen_img = 1007
    assert watch.read().eta_sec == 0


# --- arithmetic -------------------------------------------------------------------------------------------------------


def test_the_arithmetic_of_a_dense_net_is_counted_exactly(make_trainer, bare):
    """By hand, two operations per weight and pass, for the plain GAN without a penalty.

    The generator is passed forward and back to its weights and, but for its first layer, to its inputs. The
    discriminator is passed so on real and on made images, and once more all the way to the made ones: the generator's
    gradient. Its map of the condition has a constant input.
    """
    plain = {"r1_gamma": 0.0, "loss": "nonsaturating"}
    trainer = make_trainer({"family": "dense_gan"}, own_pairs=bare, own_spec=ConditionSpec(()), **plain)
    hidden, pixels, z_dim, style = 2 * 8, 3 * 8 * 8, 6, 16

    def weights(*widths):
        return [a * b for a, b in itertools.pairwise(widths)]

    def there_and_back(first, *others):
        return 2 * first + 3 * sum(others)

    generator = there_and_back(*weights(z_dim + style, hidden, hidden, hidden, pixels))
    body = weights(pixels, hidden, hidden, hidden, 1)
    judged = there_and_back(*body) + 2 * style * hidden
    by_hand = 2 * (generator + 2 * judged + sum(body))
    assert flops_per_image(trainer) == by_hand


def test_a_penalty_costs_arithmetic(make_trainer):
    """A step with R1 and R2 counts more than one without, and less than four times as much."""
    lazy = make_trainer(penalty_every=2)
    with_penalty = flops_per_image(lazy)
    lazy.step()
    assert flops_per_image(lazy) < with_penalty < 4 * flops_per_image(lazy)


def test_larger_batches_cost_as_much_per_image(make_trainer):
    """The count is per image; channels twice as wide cost about four times as much."""
    one = flops_per_image(make_trainer())
    assert flops_per_image(make_trainer(batch_size=16)) == pytest.approx(one, rel=0.01)
    wide = {"width": 16, "discriminator_width": 16, "max_width": 16}
    assert flops_per_image(make_trainer(wide)) == pytest.approx(4 * one, rel=0.3)


@pytest.mark.parametrize("family", ["r3gan", "dcgan", "dense_gan", "vae"])
def test_counting_leaves_the_training_alone(make_trainer, family):
    """Weights, gradients, buffers, moments, both random states: all are what they were, and so is the next step."""
    trainer, twin = (make_trainer({"family": family}, candidates=2) for _ in range(2))
    for each in (trainer, twin):
        each.step()
    before = everything(trainer)
    assert flops_per_image(trainer) > 0
    after = everything(trainer)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for each in (trainer, twin):
        each.step()
    assert all(torch.equal(a, b) for a, b in zip(everything(trainer).values(), everything(twin).values(), strict=True))


def everything(trainer):
    """Return a copy of all that a training and torch hold."""
    found = {"rng": trainer.state.rng.get_state(), "global": torch.get_rng_state()}
    for name, net in {**trainer.state.nets, "average": trainer.state.average}.items():
        found |= {f"{name}.{key}": value for key, value in net.state_dict().items()}
        found |= {f"{name}.{key}.grad": w.grad for key, w in net.named_parameters() if w.grad is not None}
    for name, optimizer in trainer.state.optimizers.items():
        for k, moments in enumerate(optimizer.state.values()):
            found |= {f"{name}.{k}.{key}": value for key, value in moments.items()}
    return copy.deepcopy(found)


@pytest.mark.parametrize(
    ("name", "tflops"), [("NVIDIA H100 80GB HBM3", 989), ("NVIDIA L40S", 362), ("NVIDIA L40", 181), ("NVIDIA L4", 121)]
)
def test_the_peak_of_a_known_gpu_is_that_of_its_data_sheet(monkeypatch, name, tflops):
    """By its name, the longer of two that fit."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert peak_flops(torch.device("cuda"), torch.bfloat16) == tflops * 1e12


def test_the_peak_of_any_other_device_is_measured():
    """The best of a few matrix products on it, without touching the random state: a CPU has between 1e8 and 1e14."""
    before = torch.get_rng_state()
    assert 1e8 < peak_flops(CPU, torch.float32) < 1e14
    assert torch.equal(torch.get_rng_state(), before)
