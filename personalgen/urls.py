"""URLs as they may be shown, logged and stored."""

import re
from urllib.parse import urlsplit


def without_secrets(url: str) -> str:
    """Return a URL without its password and its query, either of which may hold a secret."""
    return re.sub(r"(://[^/@:]*):.*@", r"\1:***@", url.split("?", maxsplit=1)[0])


def origin(url: str) -> str:
    """Return scheme, host and port of a URL whose path is a secret, as that of a webhook; "" of none."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme else ""
