"""An SMTP server on loopback that keeps what it is sent, and refuses what a test says."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class Mailbox:
    """What arrived, and what to answer."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.rcpt: list[str] = []
        self.data: list[str] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Answer as the test says."""
        answer = self.rcpt.pop(0) if self.rcpt else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - the same
        """Keep it."""
        answer = self.data.pop(0) if self.data else "250 OK"
        if answer.startswith("250") and isinstance(envelope.content, bytes):
            parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(parsed, EmailMessage)
            self.messages.append(parsed)
        return answer


class _AnyPort(Controller):
    """The system picks the port, and we learn it before anybody connects."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call] # aiosmtpd types only some of its methods


@contextmanager
def mail_server(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    """An SMTP server on loopback; gives its port."""
    controller = _AnyPort(mailbox, hostname="127.0.0.1", port=0, ready_timeout=60.0, **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()
