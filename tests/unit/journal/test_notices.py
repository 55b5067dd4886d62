"""Against a real web server and a real mail server of this machine."""

import email
import json
import logging
import socketserver
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from personalgen.errors import OptionsError
from personalgen.journal.notices import Notice, send
from personalgen.journal.options import NotifyOptions
from personalgen.option_values import SMTP_PASSWORD

NOTICE = Notice(
    outcome="failed", day="2026-03-01", stage="train", error="TrainingError", message="diverged ü", night_key="ab",
    mlflow_run_id="m", prefect_flow_run_id="p", source="shop", host="h", home="/srv/x",
)  # fmt: skip


@contextmanager
def serving(server):
    """Run a server on a port of its own, and yield the port."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def webhook(*statuses):
    """A web server that answers with these, the last one for ever; yields its port and what it got."""
    got, left = [], list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Content-Type"], body))
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            got.append((self.path, "", b""))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port, got


@contextmanager
def mail_server():
    """A server that speaks enough SMTP, with logins; yields its port and the (login, envelope, mail) that it took."""
    got = []

    class Handler(socketserver.StreamRequestHandler):
        def say(self, text):
            self.wfile.write(f"{text}\r\n".encode())

        def handle(self):
            login, envelope = "", []
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                verb = line.split()[0].upper()
                if verb == "EHLO":
                    self.say("250-here\r\n250 AUTH PLAIN")
                elif verb == "AUTH":
                    login = line.split()[-1]
                    self.say("235 welcome")
                elif verb == "DATA":
                    self.say("354 go on")
                    body = b"".join(iter(self.rfile.readline, b".\r\n"))
                    got.append((login, envelope, email.message_from_bytes(body)))
                    self.say("250 taken")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    envelope.append(line)
                    self.say("250 fine")

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield port, got


def test_a_webhook_gets_the_notice_as_json():
    """One POST with every field, and a text that chats show."""
    with webhook(200) as (port, got):
        assert send(NOTICE, NotifyOptions(webhook_url=f"http://127.0.0.1:{port}/hook/s3cret")) == 1
    ((path, kind, body),) = got
    assert (path, kind.partition(";")[0]) == ("/hook/s3cret", "application/json")
    text = "personalgen: night 2026-03-01 of shop failed in train"
    assert json.loads(body) == {**asdict(NOTICE), "text": text}


def test_a_webhook_that_fails_is_tried_again_and_then_let_be(caplog):
    """Twice a server error, then taken; or never: nothing is raised, and the URL's path is in no line."""
    waits = []
    with webhook(500, 503, 204) as (port, got), caplog.at_level(logging.INFO):
        options = NotifyOptions(webhook_url=f"http://127.0.0.1:{port}/s3cret")
        assert send(NOTICE, options, sleep=waits.append) == 1
    assert (len(got), waits) == (3, [1.0, 2.0])
    assert send(NOTICE, options, sleep=waits.append) == 0
    assert "HTTPError 503" in caplog.text
    assert "try 3 of 3" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_redirect_is_not_followed():
    """What is sent is meant for the place that was named."""
    with webhook(302) as (port, got):
        assert send(NOTICE, NotifyOptions(webhook_url=f"http://127.0.0.1:{port}/a", tries=1)) == 0
    assert [path for path, _, _ in got] == ["/a"]


def test_a_server_that_says_nothing_is_given_up():
    """The timeout bounds a try."""
    with serving(
        socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler, bind_and_activate=True)
    ) as p:
        options = NotifyOptions(webhook_url=f"http://127.0.0.1:{p}/", timeout_sec=0.2, tries=1)
        assert send(NOTICE, options) == 0


def test_a_mail_is_sent_with_a_password_of_the_environment(monkeypatch):
    """Sender, receivers, a subject that says it all, and the fields as lines."""
    monkeypatch.setenv(SMTP_PASSWORD, "s3cret")
    with mail_server() as (port, got):
        options = NotifyOptions(
            smtp_host="127.0.0.1", smtp_port=port, smtp_security="none", smtp_user="me", mail_from="night@example.org",
            mail_to=("ada@example.org", "bob@example.org"),
        )  # fmt: skip
        assert send(NOTICE, options) == 1
    ((login, envelope, mail),) = got
    assert login == "AG1lAHMzY3JldA=="  # \0me\0s3cret
    assert [line.split(">")[0].split("<")[1] for line in envelope] == [
        "night@example.org", "ada@example.org", "bob@example.org",
    ]  # fmt: skip
    assert mail["Subject"] == "personalgen: night 2026-03-01 of shop failed in train"
    text = mail.get_payload(decode=True).decode()
    assert "message: diverged ü" in text
    assert "s3cret" not in text


def test_a_mail_server_that_is_not_there_hides_nothing():
    """Both ways are tried, and the one that works is counted."""
    with webhook(200) as (port, got):
        options = NotifyOptions(
            webhook_url=f"http://127.0.0.1:{port}/", smtp_host="127.0.0.1", smtp_port=1, mail_from="a@b",
            mail_to=("c@d",), tries=1,
        )  # fmt: skip
        assert send(NOTICE, options) == 1
    assert len(got) == 1


def test_nobody_is_told_by_default():
    """No URL and no host: nothing is sent."""
    assert send(NOTICE, NotifyOptions()) == 0


def test_what_cannot_be_sent_is_refused():
    """All faults in one message, without the URL."""
    with pytest.raises(OptionsError) as caught:
        NotifyOptions(webhook_url="ftp://h/s3cret", tries=0, smtp_security="ssl")
    for part in ("webhook_url must begin", "tries must", "smtp_security must"):
        assert part in str(caught.value)
    assert "s3cret" not in str(caught.value)
