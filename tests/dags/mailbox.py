"""A mail server on the loopback that keeps what it is sent, for tests of notices."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from socketserver import StreamRequestHandler, TCPServer


class Mailbox(TCPServer):
    """A mail server without encryption or log-in; `got` = whom each mail was for, and the mail."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], EmailMessage]] = []
        super().__init__(("127.0.0.1", 0), _Session)


class _Session(StreamRequestHandler):
    """One connection, as far as SMTP (RFC 5321) needs it to take mail."""

    server: Mailbox

    def handle(self) -> None:
        to: list[str] = []
        self._say("220 mailbox")
        while line := self.rfile.readline():
            verb = line.decode().strip().upper()
            if verb.startswith("RCPT TO:"):
                to.append(line.decode().strip()[len("RCPT TO:") :].split(">")[0].strip("<"))
            if verb == "DATA":
                self._say("354 go on")
                mail = email.message_from_bytes(
                    b"".join(iter(self.rfile.readline, b".\r\n")), policy=email.policy.default
                )
                self.server.got.append((to, mail))
                to = []
            self._say("221 bye" if verb == "QUIT" else "250 ok")
            if verb == "QUIT":
                return

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())
