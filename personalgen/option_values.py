"""Values of settings as people give them: a TOML file < the environment < `key=value`; nothing is checked here."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personalgen.errors import ConfigError

ENV_PREFIX = "PERSONALGEN_"
SMTP_PASSWORD = "PERSONALGEN_SMTP_PASSWORD"  # noqa: S105 - the name of a variable
SALT_VARIABLE = "PERSONALGEN_PRIVACY_SALT"
_SECRETS = {SMTP_PASSWORD, SALT_VARIABLE}
"""No settings: the password is read where a mail is sent, the salt of `privacy.hash_ids` where ids are, and neither is
stored."""


def read_values(
    path: Path | None = None, overrides: Sequence[str] = (), *, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the nested values of a TOML file, the environment and `key=value` overrides, the later winning.

    Raises:
        ConfigError: the file cannot be read, or an override has no `=`.
    """
    merged: dict[str, Any] = _read_toml(path) if path else {}
    environment = os.environ if environment is None else environment
    for key, text in sorted(environment.items()):
        if key.startswith(ENV_PREFIX) and key not in _SECRETS:
            put_value(merged, key.removeprefix(ENV_PREFIX).lower().split("__"), parse_value(text), where=key)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(
                f"--set {override!r} is not of the form key=value, for example --set train.max_kimg=5. "
                "Nothing was started."
            )
        put_value(merged, key.strip().split("."), parse_value(text), where=f"--set {key}")
    return merged


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"the config file {path} does not exist. Nothing was started.") from None
    except OSError as error:
        raise ConfigError(f"the config file {path} cannot be read: {error.strerror}. Nothing was started.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config file {path} is not valid TOML: {error}. Nothing was started.") from None


def parse_value(text: str) -> Any:
    """Return a TOML value where `text` is one, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def put_value(target: dict[str, Any], keys: Sequence[str], value: Any, *, where: str) -> None:
    """Set a nested key."""
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{where} sets a key below {key!r}, which is a plain value. Nothing was started.")
    target[keys[-1]] = value
