import pytest
import typer
from rich.text import Text

from personalgen.cli import main
from personalgen.cli.app import app


def commands(group, *path):
    """Yield the words of each command, with the command."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))
BOTH_FORMS = [
    path for path, command in COMMANDS.items() if {"as_json", "as_csv"} <= {one.name for one in command.params}
]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_is_shown_as_it_is_written(path):
    """Nothing in the help of a command or of its options is read as markup, nor as the name of a picture."""
    command = COMMANDS[path]
    texts = [command.help, *(getattr(one, "help", None) for one in command.params)]
    for text in filter(None, texts):
        assert Text.from_markup(text).plain == text


@pytest.mark.parametrize("path", [("health",), ("status",)], ids=" ".join)
def test_commands_that_list_nights_say_that_they_count_nights(path):
    """Each night has many rows there."""
    (limit,) = [one for one in COMMANDS[path].params if "--limit" in one.opts]
    assert "nights" in limit.help


@pytest.mark.parametrize("path", BOTH_FORMS, ids=" ".join)
def test_two_forms_of_output_are_refused(path, tmp_path, capsys):
    """Whichever comes first, before anything is looked at."""
    for forms in (["--json", "--csv"], ["--csv", "--json"]):
        assert main([*path, *forms, "--set", f"home={tmp_path}"]) == 2
        assert "--json and --csv exclude each other" in capsys.readouterr().err


def test_two_commands_of_one_process_may_take_a_form_each(tmp_path, capsys):
    """What one was asked for is not held against the next."""
    for form in ("--json", "--csv"):
        assert main(["assets", "latest", form, "--set", f"home={tmp_path}"]) == 2
        assert "there is no catalogue" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["latest"], ["sql", "SELECT 1"], ["show", "1"]], ids=" ".join)
def test_a_home_without_a_catalogue_is_told_in_the_same_words(words, tmp_path, capsys):
    """SQL finds out later than the other questions of assets."""
    assert main(["assets", *words, "--set", f"home={tmp_path}"]) == 2
    told = (
        f"there is no catalogue in {tmp_path} yet: run `personalgen nightly`, or name another home with --set home=…."
    )
    assert told in capsys.readouterr().err
