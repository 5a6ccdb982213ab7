"""Argilla's web page, kept from loading or sending anything elsewhere.

Answers of models are shown as Markdown, and Argilla lets through pictures and embedded things of any address. Loading
them would tell strangers who votes and when.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def clean(folder: Path, language: str = "") -> None:
    """Finish Argilla's copy of its page, which asks Google for fonts.

    With `language`, a BCP-47 tag, its body says that it is in that language, by which browsers choose the letters; of
    the whole page Argilla says that it is in the language of its buttons.
    """
    for page in folder.rglob("*.html") if re.fullmatch("[A-Za-z0-9-]+", language) else ():
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("<body>", f'<body lang="{language}">', 1), encoding="utf-8", newline="")
    for sheet in folder.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        sheet.write_text(re.sub(r"@import url\(https?:[^)]*\);", "", text), encoding="utf-8", newline="\n")
    # Argilla does this itself, except in a folder whose name has a bracket.
    for part in [*folder.rglob("*.js"), *folder.rglob("*.html")]:
        content = part.read_bytes()
        if b"@@baseUrl@@" in content:
            part.write_bytes(content.replace(b"@@baseUrl@@", b""))


def policy(folder: Path) -> str:
    """Return the Content-Security-Policy (W3C, level 3) of the page in `folder`: everything from here.

    Styles may stand in the page; of the scripts that do, only those that Argilla wrote run.
    """
    pages = [page.read_text(encoding="utf-8") for page in folder.rglob("*.html")]  # line ends as browsers hash them
    scripts = {script for page in pages for script in _SCRIPT.findall(page)}
    hashes = sorted(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return "; ".join(
        [
            "default-src 'self'",
            " ".join(["script-src 'self'", *(f"'sha256-{each}'" for each in hashes)]),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "object-src 'none'",
            "frame-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
        ]
    )


class SafeHeaders:
    """An ASGI application that adds headers to the answers of `app`, and `policy` to those that are a page."""

    def __init__(self, app: Any, policy: str) -> None:
        self.app = app
        self.policy = policy.encode("ascii")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_safely(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ())]
                kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
                headers += [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
                # What describes the API at /api/v1/docs shows no answers and is made elsewhere.
                if kind.startswith(b"text/html") and not scope["path"].startswith("/api/"):
                    headers.append((b"content-security-policy", self.policy))
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_safely if scope["type"] == "http" else send)
