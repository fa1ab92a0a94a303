"""A small OpenAI-compatible server on the loopback, in this process, with faults planted by a script."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rporec.backbone.endpoint import Access
from rporec.config import TeacherParams


@dataclass
class Asked:
    """What the server saw."""

    bodies: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def prompts(self):
        return [body["messages"][0]["content"] for body in self.bodies]


@dataclass(frozen=True)
class Said:
    """One response: `pause` seconds before it, `drip` seconds between the bytes of its body."""

    body: bytes = b""
    status: int = 200
    headers: dict = field(default_factory=dict)
    pause: float = 0.0
    drip: float = 0.0


def chat(text, prompt_tokens=100, completion_tokens=20, **changes):
    """A chat completion."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    body = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}
    return Said(json.dumps(body).encode(), **changes)


def error(status, message="no", **changes):
    """An error as OpenAI's."""
    return Said(json.dumps({"error": {"message": message}}).encode(), status, **changes)


@contextmanager
def serving(answer: Callable[[int, dict], Said]):
    """Serve on a free port; `answer` gets the number of the request, from 0, and its body. Yields (url, Asked)."""
    seen, lock = Asked(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(seen.bodies)
                seen.bodies.append(body)
                seen.headers.append({name.lower(): value for name, value in self.headers.items()})
                seen.paths.append(self.path)
                seen.times.append(time.monotonic())
                seen.at_once += 1
                seen.most_at_once = max(seen.most_at_once, seen.at_once)
            try:
                self._say(answer(number, body))
            except OSError:
                pass  # the client went away
            finally:
                with lock:
                    seen.at_once -= 1

        def _say(self, said):
            time.sleep(said.pause)
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(said.body)))
            self.end_headers()
            if not said.drip:
                self.wfile.write(said.body)
                return
            for place in range(len(said.body)):
                self.wfile.write(said.body[place : place + 1])
                self.wfile.flush()
                time.sleep(said.drip)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


VALUES = {
    "max_rows": 100, "concurrency": 2, "requests_per_minute": None, "timeout": 5.0, "retries": 2, "backoff": 0.01,
    "max_wait": 5.0, "temperature": 0.0, "max_tokens": 64, "prompt_price": None, "completion_price": None,
}  # fmt: skip


def access(url, key=None, seed=7, **changes):
    return Access(TeacherParams(**{**VALUES, "url": url, "model": "wise", **changes}), key, seed)
