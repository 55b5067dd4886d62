"""Telling people how a night ended: a POST to a webhook, a mail. Nothing here ever raises."""

import json
import logging
import os
import smtplib
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from functools import partial

from personalgen.journal.options import NotifyOptions
from personalgen.option_values import SMTP_PASSWORD
from personalgen.urls import origin

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """What is sent, and nothing else: no id of a person, no value of a row, no password."""

    outcome: str
    """failed or done."""
    day: str
    """Of the night; empty where it failed before it had one."""
    stage: str
    """In which it failed."""
    error: str
    """Kind of error."""
    message: str
    """Its words, without values."""
    night_key: str
    mlflow_run_id: str
    prefect_flow_run_id: str
    source: str
    host: str
    """Name of the machine."""
    home: str
    """Where the night ran."""

    def subject(self) -> str:
        """Return a line for a mail's subject or a chat."""
        where = f" in {self.stage}" if self.stage else ""
        return f"personalgen: night {self.day or 'not begun'} of {self.source} {self.outcome}{where}"


def send(notice: Notice, options: NotifyOptions, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Send a notice everywhere it is asked for; return how many took it. One that does not is logged."""
    ways: list[tuple[str, Callable[[Notice, NotifyOptions], None]]] = []
    if options.webhook_url:
        ways.append((f"webhook {origin(options.webhook_url)}", _post))
    if options.mail_to:
        ways.append((f"mail by {options.smtp_host}:{options.smtp_port}", _mail))
    return sum(_tried(name, partial(way, notice, options), options, sleep) for name, way in ways)


def _tried(name: str, once: Callable[[], None], options: NotifyOptions, sleep: Callable[[float], None]) -> bool:
    """Return whether it went; of an error only the kind is told, as its words may hold the URL."""
    for number in range(options.tries):
        try:
            once()
        except Exception as error:  # noqa: BLE001 - a notice that does not go never hides the night's own error
            _log.warning("%s did not take the notice (try %d of %d): %s", name, number + 1, options.tries, _kind(error))
            if number + 1 < options.tries:
                sleep(2.0**number)
        else:
            _log.info("%s took the notice", name)
            return True
    return False


def _kind(error: Exception) -> str:
    """Return the class of an error, with a server's status where it gave one."""
    code = getattr(error, "code", None) or getattr(error, "smtp_code", None)
    return f"{type(error).__name__}{f' {code}' if code else ''}"


def _post(notice: Notice, options: NotifyOptions) -> None:
    body = json.dumps({**asdict(notice), "text": notice.subject()}, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "personalgen"}
    request = urllib.request.Request(options.webhook_url, body, headers, method="POST")  # noqa: S310 - checked: http(s)
    with _OPENER.open(request, timeout=options.timeout_sec) as answer:
        answer.read(1 << 16)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A webhook that points elsewhere is an error: what is sent is meant for the place that was named."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow nothing: the answer is raised as the error that it is."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def _mail(notice: Notice, options: NotifyOptions) -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = notice.subject(), options.mail_from, ", ".join(options.mail_to)
    message.set_content("\n".join(f"{name}: {value}" for name, value in asdict(notice).items() if value) + "\n")
    kind = smtplib.SMTP_SSL if options.smtp_security == "tls" else smtplib.SMTP
    with kind(options.smtp_host, options.smtp_port, timeout=options.timeout_sec) as server:
        if options.smtp_security == "starttls":
            server.starttls()
        if options.smtp_user:
            server.login(options.smtp_user, os.environ.get(SMTP_PASSWORD, ""))
        server.send_message(message)
