import pytest

from personalgen.urls import cleaned, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://pg:s3cret@db:5432/x", "postgresql+psycopg://pg:***@db:5432/x"),
        ("postgresql+psycopg://pg:s3@cret/x@db/x", "postgresql+psycopg://pg:***@db/x"),
        ("https://me:s3cret@host", "https://me:***@host"),
        ("mysql+pymysql://host/db?password=s3cret&user=me", "mysql+pymysql://host/db"),
        ("postgresql+psycopg://reader@db/shop", "postgresql+psycopg://reader@db/shop"),
        ("sqlite:////home/x/mlflow.db", "sqlite:////home/x/mlflow.db"),
        ("", ""),
    ],
)
def test_secrets_are_not_shown(url, shown):
    """A URL in a message, a log or a stored setting says where, never with what password."""
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://pg:s3%40cret@db/x", "mysql://host/db?password=s3%40cret", "http://me:s3%40cret@host"]
)
def test_messages_of_others_are_cleaned(url):
    """Whichever way a library repeats a URL or its password, the message is told without it."""
    told = cleaned(f"cannot open {url}: no 's3%40cret', s3@cret", url)
    assert "s3" not in told
    assert "cannot open" in told
