"""What other machines reach can be served by TLS, and to callers with a certificate only."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gatewatch.errors import ConfigError
from gatewatch.observe.http import Server
from gatewatch.settings import Tls


async def _yes(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("yes")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert.pem and key.pem of 127.0.0.1; the certificate signs itself, so it is its own CA."""
    folder = tmp_path_factory.mktemp("tls")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(folder / "key.pem")]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command = ["openssl", "req", "-x509", *curve, "-out", str(folder / "cert.pem"), *name]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def server(pem: Path) -> Iterator[Server]:
    """Asks callers for a certificate."""
    tls = Tls(cert_file=pem / "cert.pem", key_file=pem / "key.pem", client_ca_file=pem / "cert.pem")
    made = Server(Starlette(routes=[Route("/", _yes)]), "127.0.0.1", 0, "enforce.listen", tls)
    yield made
    made.close()


def test_only_a_caller_with_a_certificate_is_answered(server: Server, pem: Path) -> None:
    """If this fails, mTLS is a setting that does nothing, and anybody on the network may ask."""
    url = f"https://127.0.0.1:{server.port}/"
    context = ssl.create_default_context(cafile=str(pem / "cert.pem"))
    with httpx.Client(verify=context, timeout=30.0) as stranger, pytest.raises(httpx.TransportError):
        stranger.get(url)
    context.load_cert_chain(pem / "cert.pem", pem / "key.pem")
    with httpx.Client(verify=context, timeout=30.0) as friend:
        assert friend.get(url).text == "yes"
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("https", "http"), timeout=30.0)


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """If this fails, a typo in a path is a thread that dies, and a role that seems to run."""
    tls = Tls(cert_file=tmp_path / "absent.pem", key_file=tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match=r"enforce\.tls: cannot be used"):
        Server(Starlette(), "127.0.0.1", 0, "enforce.listen", tls)
