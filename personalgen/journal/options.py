"""How much of a night is written down, and who is told how it ended."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from personalgen.bounds import check_options

SECURITY = ("none", "starttls", "tls")


@dataclass(frozen=True)
class LogOptions:
    """The journal: one JSON object a line in home/data/logs, a file a day."""

    keep_days: int = 30
    """Files of earlier days are removed after so many days."""

    def __post_init__(self) -> None:
        """Refuse to keep nothing."""
        check_options("logs", self, least={"keep_days": 1})


@dataclass(frozen=True)
class NotifyOptions:
    """Who is told when a night fails; nobody by default. docs/operations.md says what is sent."""

    on_success: bool = False
    """Whether a night that ended well is told, too."""
    webhook_url: str = ""
    """http(s) URL that gets a POST of JSON. It may hold a secret: give it as PERSONALGEN_NOTIFY__WEBHOOK_URL; it is
    stored and shown without its path."""
    smtp_host: str = "localhost"
    """Mail server."""
    smtp_port: int = 587
    """The mail server's port."""
    smtp_security: str = "starttls"
    """"starttls", "tls" (from the first byte) or "none" (a relay on this machine)."""
    smtp_user: str = ""
    """Name to log in with; empty logs in as nobody. The password is read from PERSONALGEN_SMTP_PASSWORD alone."""
    mail_from: str = "personalgen@localhost"
    """Sender of mails."""
    mail_to: tuple[str, ...] = ()
    """Receivers of mails; empty sends none."""
    timeout_sec: float = 10.0
    """Longest wait for an answer, each time."""
    tries: int = 3
    """How often it is tried, a second apart, then two, then four."""

    def __post_init__(self) -> None:
        """Refuse what cannot be sent, all in one message."""
        least, choices = {"tries": 1, "smtp_port": 1}, {"smtp_security": SECURITY}
        known = not self.webhook_url or urlsplit(self.webhook_url).scheme in {"http", "https"}
        faults = [] if known else ["webhook_url must begin with http:// or https://, found something else"]
        check_options("notify", self, least=least, above={"timeout_sec": 0}, choices=choices, more=faults)
