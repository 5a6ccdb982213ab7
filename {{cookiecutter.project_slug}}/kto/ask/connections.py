"""The way to a server, the same for every command: trusted certificates and proxies."""

import contextlib
import functools
import os
import ssl
import sys
from typing import Any
from urllib.parse import SplitResult, urlsplit

import aiohttp
import aiohttp_socks
import certifi
import requests.utils
import truststore

from kto.ask.servers import Server
from kto.errors import (
    CertificateRefused,
    ConnectionLost,
    NotEncrypted,
    ProxyRefused,
    ProxyUnreachable,
    RequestFailed,
    Unreachable,
    UserError,
)
from kto.model_names import hide_login

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SOCKS = {"socks": "socks5", "socks5": "socks5", "socks5h": "socks5", "socks4": "socks4", "socks4a": "socks4"}
PROXY_ERRORS = (
    aiohttp.ClientProxyConnectionError,
    aiohttp_socks.ProxyError,
    aiohttp_socks.ProxyConnectionError,
    aiohttp_socks.ProxyTimeoutError,
)


@functools.cache
def certificates() -> ssl.SSLContext:
    """Return the trusted certificates.

    The file or folder that the environment names, as requests and OpenSSL do it; otherwise those of the system, where
    companies put their own, and on Linux also those of certifi, because small containers have none.

    Raises
    ------
    UserError
        The file or folder cannot be used.
    """
    for name in _BUNDLES:
        if path := os.environ.get(name):
            try:
                if name == "SSL_CERT_DIR" or os.path.isdir(path):
                    return ssl.create_default_context(capath=path)
                return ssl.create_default_context(cafile=path)
            except OSError as error:
                reason = error.strerror or error
                raise UserError("technical.bad_certificates", name=name, path=path, reason=reason) from None
    if sys.platform in ("win32", "darwin"):
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _proxy(server: Server) -> str:
    """Return the proxy for a server, "" for none; the environment is read as requests does."""
    if server.is_local:
        return ""
    proxies = requests.utils.get_environ_proxies(server.base_url, no_proxy=None)
    proxy = requests.utils.select_proxy(server.base_url, proxies) or ""
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _parts(proxy: str) -> SplitResult:
    with contextlib.suppress(ValueError):
        parts = urlsplit(proxy)
        if not proxy or (parts.scheme in ("http", "https", *_SOCKS) and parts.hostname and parts.port != 0):
            return parts
    raise UserError("technical.bad_proxy", proxy=hide_login(proxy))


def session(server: Server, connections: int) -> aiohttp.ClientSession:
    """Return a client session for one server; belongs to the running event loop.

    Raises
    ------
    UserError
        The certificates or the proxy that the environment names cannot be used.
    """
    proxy = _proxy(server)
    parts = _parts(proxy)
    trusted = certificates() if "https" in (urlsplit(server.base_url).scheme, parts.scheme) else True
    options: dict[str, Any] = {"limit": connections, "ssl": trusted}
    if parts.scheme in _SOCKS:
        # As in curl, the proxy looks up the server's name only where the scheme says so.
        remote_lookup = parts.scheme in ("socks5h", "socks4a")
        port = "" if parts.port else ":1080"
        url = parts._replace(scheme=_SOCKS[parts.scheme], netloc=parts.netloc + port).geturl()
        connector: aiohttp.TCPConnector = aiohttp_socks.ProxyConnector.from_url(url, rdns=remote_lookup, **options)
        proxy = ""
    else:
        connector = aiohttp.TCPConnector(ttl_dns_cache=300, **options)
    return aiohttp.ClientSession(
        connector=connector,
        headers=server.headers,
        proxy=proxy or None,
        trust_env=False,  # otherwise passwords would be read from ~/.netrc
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def failure(server: Server, error: Exception) -> RequestFailed:
    """Return what it means that a connection failed: at the server, its certificate, or a proxy."""
    url, proxy = server.base_url, hide_login(_proxy(server))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        kind = ProxyRefused if error.status < 500 else ProxyUnreachable
        return kind(url=url, proxy=proxy, status=error.status, detail=f"{error.status} {error.message}".strip())
    if isinstance(error, PROXY_ERRORS):
        reason = getattr(error, "os_error", error)
        return ProxyUnreachable(url=url, proxy=proxy, detail=str(getattr(reason, "strerror", None) or reason))
    # Each way through aiohttp has its own place for an error of TLS.
    for cause in (getattr(error, "certificate_error", None), getattr(error, "os_error", None), error.__cause__, error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CertificateRefused(url=url, detail=cause.verify_message or str(cause))
        if isinstance(cause, ssl.SSLError):
            return NotEncrypted(url=url, detail=cause.reason or str(cause))
    return Unreachable() if isinstance(error, aiohttp.ClientConnectorError) else ConnectionLost()


def refused_by_proxy(server: Server, detail: str) -> ProxyRefused:
    """Return the error for a reply with status 407: the proxy wants a name and a password."""
    return ProxyRefused(407, f"407 {detail}".strip(), url=server.base_url, proxy=hide_login(_proxy(server)))
