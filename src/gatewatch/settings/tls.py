"""TLS of an HTTP surface that other machines reach."""

from __future__ import annotations

from pathlib import Path

from gatewatch.settings.base import Section


class Tls(Section):
    """Certificate and key in PEM. With ``client_ca_file`` only callers with a certificate of it are answered (mTLS)."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
