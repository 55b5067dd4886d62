from pathlib import Path

import pytest

from personalgen.cli.night import _options


@pytest.mark.parametrize(
    ("config", "overrides", "expected"),
    [
        (None, None, ""),
        (Path("shop.toml"), None, " --config shop.toml"),
        (
            Path("my shop.toml"),
            ["home=a b", "train.seed=3"],
            " --config 'my shop.toml' --set 'home=a b' --set train.seed=3",
        ),
    ],
)
def test_commands_to_try_carry_the_options_of_the_night(config, overrides, expected):
    """What is shown can be pasted into a shell and looks at the same home."""
    assert _options(config, overrides) == expected
