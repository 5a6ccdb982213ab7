"""Argilla's web page, kept from loading or sending anything elsewhere.

Answers of models are shown as Markdown, and Argilla lets through pictures and embedded things of any address. Loading
them would tell strangers who votes and when.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any


def clean(folder: Path, language: str = "") -> None:
    """Finish Argilla's copy of its page: no fonts from Google; its body in `language` (BCP-47), for browsers."""
    tag = f' lang="{language}"' if re.fullmatch("[A-Za-z0-9-]+", language) else ""
    for path in folder.rglob("*.*"):
        if path.suffix in (".html", ".css", ".js"):
            before = path.read_bytes()
            content = before.replace(b"@@baseUrl@@", b"")  # Argilla does this, but not in a folder with a bracket
            if path.suffix == ".html":
                content = content.replace(b"<body>", f"<body{tag}>".encode(), 1)
            elif path.suffix == ".css":
                content = re.sub(rb"@import url\(https?:[^)]*\);", b"", content)
            if content != before:
                path.write_bytes(content)


def policy(folder: Path) -> str:
    """Return a Content-Security-Policy (W3C, level 3): all from here, and of scripts in the page only Argilla's own."""
    pages = [page.read_text(encoding="utf-8") for page in folder.rglob("*.html")]  # line ends as browsers hash them
    scripts = {script for page in pages for script in re.findall("(?s)<script>(.*?)</script>", page)}
    hashes = sorted(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'self'; script-src 'self' {allowed}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; frame-src 'none'; "
        "base-uri 'self'; form-action 'self'"
    )


def add_headers(app: Any, policy: str) -> None:
    """Have the FastAPI application `app` send headers that make browsers careful, and `policy` with its pages."""

    @app.middleware("http")
    async def send_headers(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-content-type-options"] = "nosniff"
        response.headers["referrer-policy"] = "no-referrer"
        # What describes the API at /api/v1/docs shows no answers and is made elsewhere.
        is_page = response.headers.get("content-type", "").startswith("text/html")
        if is_page and not request.url.path.startswith("/api/"):
            response.headers["content-security-policy"] = policy
        return response
