"""The compose file as text, and its script for roles on a real server; nothing here starts a container."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.catalogues import Catalogue, on_server

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]


def test_images_are_pinned_and_services_wait_for_each_other():
    """No image is `latest`; whoever is depended on says when it is well; no port is open to other machines."""
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+\.?\d*[a-z0-9.-]*", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        for other, how in service.get("depends_on", {}).items():
            assert (how, "healthcheck" in SERVICES[other]) == ({"condition": "service_healthy"}, True)


def test_secrets_come_from_the_environment_alone():
    """Every password in the file is a variable that the example lists without a value, and git ignores .env."""
    listed = re.findall(r"^(\w+)=(.*)$", (ROOT / "compose.env.example").read_text(), re.MULTILINE)
    assert {value for _, value in listed} == {""}
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert used - {"POSTGRES_USER"} == {name for name, _ in listed}
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            secret = re.search("PASSWORD|SALT", name) or "://" in value
            assert not secret or value.startswith(("${", "http://")) or re.search(r":\$\{\w+(:\?[^}]*)?\}@", value), (
                name
            )
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_settings_of_the_file_are_settings():
    """No variable of the worker's is misspelt."""
    from personalgen.config import load_settings
    from personalgen.option_values import SALT_VARIABLE

    given = {name: "x" for name in SERVICES["worker"]["environment"] if name.startswith("PERSONALGEN_")}
    assert load_settings(environment=given | {SALT_VARIABLE: "x"}).home == "x"


def test_the_roles_of_the_file_are_made(postgresql_server):
    """The script runs on an empty server: a database for each of the three, of an owner who is no superuser."""
    if shutil.which("psql") is None:
        pytest.skip("psql is not on the PATH")
    host, _, port = postgresql_server.rpartition("@")[2].partition(":")
    names = {f"{name}_PASSWORD": "it's secret" for name in ("KEEPER", "TRACKING", "FLOWS")}
    on_server(postgresql_server, "create database pg")  # psql connects to the database of the user's name
    script = (ROOT / "compose.roles.sh").read_text()
    for name in ("keeper", "tracking", "flows", "catalogue"):  # other tests of the session may have such roles
        script = re.sub(rf"(ROLE|DATABASE|OWNER|,) {name}\b", rf"\1 compose_{name}", script)
    environment = os.environ | names | {"POSTGRES_USER": "pg", "PGHOST": host, "PGPORT": port}
    subprocess.run(["sh", "-c", script], env=environment, check=True, timeout=60, stdout=subprocess.DEVNULL)
    asked = """select datname, rolname, rolsuper, rolcreaterole from pg_database join pg_roles r on r.oid = datdba
               where datname like 'compose%' order by datname"""
    found = [tuple(row.values()) for row in Catalogue(f"{postgresql_server}/postgres").ask(asked)]
    assert found == [
        ("compose_catalogue", "compose_keeper", 0, 1), ("compose_flows", "compose_flows", 0, 0),
        ("compose_tracking", "compose_tracking", 0, 0),
    ]  # fmt: skip
