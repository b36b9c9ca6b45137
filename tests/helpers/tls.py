"""A certificate authority made for a test."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """Its own certificate lies in `file`: name it in SSL_CERT_FILE to trust it."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def server_context(self, *hosts: str) -> ssl.SSLContext:
        """What a server of these hosts shows its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*hosts).configure_cert(context)
        return context
