"""A proxy before a real server that does with some requests what networks and proxies do."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import httpx


class FaultyProxy:
    """Passes requests on to `url`, as a context manager; tests set and read the public attributes."""

    def __init__(self, url: str) -> None:
        self.requests: list[str] = []  # "PUT /api/…" of those that came
        self.drop_from: int | None = None  # from this request on, the network is gone
        self.answer: dict[str, list[int]] = {}  # end of the path → statuses to answer, one after the other
        self.largest: int | None = None  # a body of more bytes gets 413, as from nginx
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.requests.append(f"{self.command} {self.path}")
                if proxy.drop_from is not None and len(proxy.requests) > proxy.drop_from:
                    self.close_connection = True
                    return
                path = self.path.partition("?")[0]
                statuses = next((each for end, each in proxy.answer.items() if path.endswith(end)), [])
                if statuses or (proxy.largest is not None and len(body) > proxy.largest):
                    status, content, kind = statuses.pop(0) if statuses else 413, b"<html>no</html>", "text/html"
                else:
                    keep = {"content-type", "x-argilla-api-key", "accept"}
                    headers = {name: value for name, value in self.headers.items() if name.lower() in keep}
                    got = httpx.request(self.command, url + self.path, content=body, headers=headers, timeout=60)
                    status, content = got.status_code, got.content
                    kind = got.headers.get("content-type", "application/json")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
