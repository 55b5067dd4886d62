import re

import pytest
import typer

from personalgen.catalogue.views import VIEWS
from personalgen.cli import main
from personalgen.cli.app import app
from personalgen.cli.assets import sql
from personalgen.errors import ArtifactError, ConfigError


@pytest.fixture
def command(monkeypatch):
    """Return a function that adds a command which raises, and its name."""
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))

    def add(error):
        @app.command("test-raises")
        def raises():
            """Raise."""
            raise error

        return "test-raises"

    return add


def test_a_wrong_config_is_one_line_and_exit_code_2(tmp_path, capsys):
    """An error of the user's is told in one line on stderr, without a trace."""
    assert main(["doctor", "--config", str(tmp_path / "none.toml")]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("personalgen: the config file ")
    assert told.err.count("\n") == 1


def test_debug_shows_the_trace(tmp_path):
    """With --debug, wherever it stands, the error itself comes through."""
    with pytest.raises(ConfigError):
        main(["--debug", "doctor", "--config", str(tmp_path / "none.toml")])


@pytest.mark.parametrize(("error", "code"), [(ConfigError("mend it"), 2), (ArtifactError("mend it"), 1)])
def test_the_exit_code_is_the_errors(command, capsys, error, code):
    """2 where the user can mend it, 1 where we must; the message is the whole output."""
    assert main([command(error)]) == code
    assert capsys.readouterr().err == "personalgen: mend it\n"


def test_a_command_can_fail_without_an_error(command):
    """The exit code that a command asks for reaches the caller."""
    assert main([command(typer.Exit(1))]) == 1


def test_an_interrupt_says_how_to_go_on(command, capsys):
    """Ctrl-C is exit code 130 and one line, without a trace."""
    assert main([command(KeyboardInterrupt())]) == 130
    assert capsys.readouterr().err == (
        "personalgen: interrupted. Run the same command again to go on where it stopped.\n"
    )


def test_an_error_that_nobody_foresaw_keeps_its_trace(command):
    """A bug is not dressed up as a message."""
    with pytest.raises(ZeroDivisionError):
        main([command(ZeroDivisionError())])


@pytest.mark.parametrize("arguments", [["doctor", "--hlep"], ["models", "promote", "seven", "--reason", "x"]])
def test_a_wrong_option_or_argument_is_exit_code_2(capsys, arguments):
    """Usage errors are a few lines on stderr."""
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_command_is_exit_code_2(capsys):
    """A misspelt command is the user's to mend."""
    assert main(["nihgtly"]) == 2
    assert "nihgtly" in capsys.readouterr().err


def test_help_names_every_command(capsys):
    """--help succeeds and lists what there is."""
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(
        name in told for name in ("nightly", "doctor", "assets", "models", "recommendations", "forgotten", "world")
    )


def test_a_world_that_is_not_simulated_is_not_written(tmp_path, capsys):
    """`world write` on a real source is refused and writes nothing."""
    assert main(["world", "write", "--set", f"home={tmp_path}"]) == 2
    assert "this config reads a real source" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_help_of_sql_names_every_view():
    """Whoever asks learns there what can be asked."""
    assert {name for name in VIEWS if name not in (sql.__doc__ or "")} == set()


BIG = str(10**20)


@pytest.mark.parametrize(
    "words",
    [
        ("assets", "show", BIG),
        ("assets", "rate", BIG, "--rating", "1"),
        ("assets", "similar", "--asset", BIG),
        *(("assets", "latest", option, BIG) for option in ("--before", "--night", "--model", "-n")),
        ("assets", "top", "--after", BIG),
        ("assets", "changed", "--after", f"{BIG}:1"),
        ("assets", "changed", "--after", f"1:{2**63}"),
        ("assets", "sql", "SELECT 1", "-n", BIG),
        ("nights", "delete", BIG, "--reason", "x"),
        ("models", "promote", BIG, "--reason", "x"),
        ("models", "rollback", "--to", BIG, "--reason", "x"),
    ],
    ids=" ".join,
)
def test_a_number_that_no_database_holds_is_refused(words, capsys):
    """Before anything is opened, with what is expected, and never with a trace."""
    assert main(list(words)) == 2
    assert re.search(r"Invalid value for|takes a night and an asset", capsys.readouterr().err)
