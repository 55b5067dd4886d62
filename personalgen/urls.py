"""URLs as they may be shown, logged and stored, and messages of others about them."""

import re
from urllib.parse import unquote, urlsplit


def without_secrets(url: str) -> str:
    """Return a URL without its password and its query, either of which may hold a secret."""
    return re.sub(r"(://[^/@:]*):.*@", r"\1:***@", url.split("?", maxsplit=1)[0])


def origin(url: str) -> str:
    """Return scheme, host and port of a URL whose path is a secret, as that of a webhook; "" of none."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme else ""


def cleaned(message: str, url: str) -> str:
    """Return what a library says of a URL, without the secrets of that URL in any spelling."""
    bare, _, query = url.partition("?")
    password = re.search(r"://[^/@:]*:(.*)@", bare)
    values = [pair.partition("=")[2] for pair in query.split("&")]
    secrets = {*([password[1]] if password else ()), *values}
    spelt = {url} | secrets | {unquote(secret) for secret in secrets}
    for secret in sorted(spelt - {""}, key=len, reverse=True):
        message = message.replace(secret, without_secrets(url) if secret == url else "***")
    return message
