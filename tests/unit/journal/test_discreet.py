import pytest

from personalgen.errors import CatalogueError, DataError
from personalgen.journal.discreet import discreet, told, without_passwords
from personalgen.tables.columns import shown


@pytest.mark.parametrize("value", ["ada", "o'neil", 'say "x"', 12345, 1.5, "x" * 300, "a) (b", "ünï"])
def test_no_cell_of_a_row_is_left(value):
    """A value as quarantine shows it goes, whatever it is; the words around it stay."""
    text = discreet(f"bad_user_id 3 (first in row 7: customer = {shown(value)}). Mend the rows.")
    assert text == "bad_user_id 3 …. Mend the rows."
    assert str(value)[:20] not in discreet(f"customer = {shown(value)} is refused")


def test_a_quoted_id_is_left_out_and_an_apostrophe_is_not_a_quote():
    """{value!r} goes; possessives and contractions do not start a quote."""
    text = discreet("other people's rows of 'ada' and \"o'neil\" aren't read; users' tables are")
    assert text == "other people's rows of … and … aren't read; users' tables are"


def test_what_postgresql_repeats_of_a_row_is_left_out():
    """DETAIL and all behind it goes."""
    assert "ada" not in discreet("refused a write: duplicate key\nDETAIL:  Key (user_id)=(ada) already exists.")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://me:s3cret@db/shop does not answer",
        "postgresql://me:s3c/ret@db/shop?sslmode=require".replace("/ret", "ret"),
        "http://h/x?token=s3cret&y=1",
        "password=s3cret host=db",
    ],
)
def test_passwords_are_left_out(text):
    """Of URLs, queries and connection strings."""
    assert "s3c" not in without_passwords(text)
    assert "***" in without_passwords(text)


def test_only_kind_and_place_are_told_of_errors_that_are_not_ours():
    """A KeyError's message may be somebody's id."""
    try:
        {}["ada"]
    except KeyError as error:
        text = told(error)
    assert "ada" not in text
    assert text.startswith("KeyError at test_discreet.py:")
    assert told(DataError("3 rows of 'ada' are bad")) == "3 rows of … are bad"
    assert told(CatalogueError("locked")) == "locked"
