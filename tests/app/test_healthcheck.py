"""`netslo healthcheck`: 0 where a process is well, else 1 and why."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner

from netslo.app.commands.healthcheck import healthcheck
from netslo.errors import ConfigurationError, NetsloError
from netslo.notify import ALIVE_FILE


def check(*arguments, environ=None):
    """Run the command; what it raises is what `main` turns into exit statuses."""
    done = CliRunner().invoke(healthcheck, [str(each) for each in arguments], env=environ or {})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            well = self.path == "/healthz?full=1"
            body = b"" if well else b"the disk is full"
            self.send_response(200 if well else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_a_collector_is_asked(server) -> None:
    assert check("--url", f"{server}/healthz?full=1") == 0
    with pytest.raises(NetsloError, match="503 Service Unavailable: the disk is full") as caught:
        check("--url", f"{server}/healthz")
    assert caught.value.exit_code == 1


def test_nobody_answers() -> None:
    with pytest.raises(NetsloError, match="Connection refused"):
        check("--url", "http://127.0.0.1:1/healthz")


def test_a_beat_may_be_so_old(tmp_path) -> None:
    file = tmp_path / "alive"
    with pytest.raises(NetsloError, match="no beat yet"):
        check("--file", file)
    file.write_text(f"{time.monotonic_ns() - 60_000_000_000:020d}\n")
    assert check("--within", 3600, environ={ALIVE_FILE: str(file)}) == 0
    with pytest.raises(NetsloError, match=r"the last beat was [67]\d s ago"):
        check("--within", 5, environ={ALIVE_FILE: str(file)})


def test_what_to_look_at_must_be_said() -> None:
    with pytest.raises(ConfigurationError, match=ALIVE_FILE):
        check(environ={ALIVE_FILE: ""})
    with pytest.raises(ConfigurationError, match="exclude"):
        check("--url", "http://127.0.0.1:1/", "--file", "x")
