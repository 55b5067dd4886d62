"""URLs as they may be shown, logged and stored."""

import re


def without_secrets(url: str) -> str:
    """Return a URL without its password and its query, either of which may hold a secret."""
    return re.sub(r"(://[^/@:]*):.*@", r"\1:***@", url.split("?", maxsplit=1)[0])
