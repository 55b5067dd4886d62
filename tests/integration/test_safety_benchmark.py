import json

from benchmarks import safety


def test_it_writes_its_figures(tmp_path):
    """The toy size runs to its end and writes one flat object of finite numbers, with units or as ratios."""
    assert safety.main(["--quick", "--resolution", "16", "--json", str(tmp_path / "f.json")]) == 0
    figures = json.loads((tmp_path / "f.json").read_text())
    assert {name.rpartition("_")[2] for name in figures} <= {"us", "bytes", "alone", "sec"}
    assert figures["png_fpng_provenance_bytes"] == figures["png_zlib_provenance_bytes"] > 700
    assert figures["opennsfw_images_per_core_sec"] > 0
