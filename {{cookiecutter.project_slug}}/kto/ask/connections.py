"""How we reach a server: which certificates count, and which proxy leads there. One rule for every command."""

import contextlib
import functools
import os
import ssl
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import aiohttp
import aiohttp_socks
import certifi
import requests.utils
import truststore

from kto.errors import UserError
from kto.model_names import hide_login

if TYPE_CHECKING:
    from kto.ask.servers import Server

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SOCKS = {"socks": "socks5", "socks5": "socks5", "socks5h": "socks5", "socks4": "socks4", "socks4a": "socks4"}
_PROXY_ERRORS = (
    aiohttp.ClientProxyConnectionError,
    aiohttp_socks.ProxyError,
    aiohttp_socks.ProxyConnectionError,
    aiohttp_socks.ProxyTimeoutError,
)


class NoWay(UserError):
    """The server cannot be reached, and it is not the server's doing.

    Attributes
    ----------
    lasting
        Nothing changes until somebody does something: a certificate, or a proxy that refuses.
    """

    def __init__(self, key: str, /, *, lasting: bool, **values: object) -> None:
        super().__init__(key, **values)
        self.lasting = lasting


@functools.cache
def certificates() -> ssl.SSLContext:
    """Return what decides which certificates count.

    The file or folder that the environment names, as requests and OpenSSL do it; otherwise those of the system, where
    companies put their own, and on Linux also those of certifi, because small containers have none.

    Raises
    ------
    UserError
        What the environment names cannot be used.
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


def proxy_for(server: "Server") -> str:
    """Return the proxy that leads to a server, "" if none does; what the environment says is read as requests does."""
    if server.is_local:
        return ""
    proxy = (
        requests.utils.select_proxy(server.base_url, requests.utils.get_environ_proxies(server.base_url, no_proxy=None))
        or ""
    )
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def session(server: "Server", connections: int, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    """Return a client for one server; belongs to the event loop that runs.

    Raises
    ------
    UserError
        The certificates or the proxy that the environment names cannot be used.
    """
    proxy = proxy_for(server)
    through = _parts(proxy)
    trusted = certificates() if "https" in (urlsplit(server.base_url).scheme, through.scheme) else True
    options: dict[str, Any] = {"limit": connections, "ssl": trusted}
    if through.scheme in _SOCKS:
        # As with curl, the name of the server is looked up by the proxy only where the scheme says so.
        names_there = through.scheme in ("socks5h", "socks4a")
        port = "" if through.port else ":1080"
        url = through._replace(scheme=_SOCKS[through.scheme], netloc=through.netloc + port).geturl()
        connector: aiohttp.TCPConnector = aiohttp_socks.ProxyConnector.from_url(url, rdns=names_there, **options)
        proxy = ""
    else:
        connector = aiohttp.TCPConnector(ttl_dns_cache=300, **options)
    return aiohttp.ClientSession(
        connector=connector,
        headers=server.headers,
        timeout=timeout,
        proxy=proxy or None,
        trust_env=False,  # otherwise it would look for passwords in ~/.netrc
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _parts(proxy: str) -> SplitResult:
    """Return the parts of a proxy's address; raise `UserError` if it is none."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(proxy)
        if not proxy or (parts.scheme in ("http", "https", *_SOCKS) and parts.hostname and parts.port != 0):
            return parts
    raise UserError("technical.bad_proxy", proxy=hide_login(proxy))


@contextlib.contextmanager
def named(server: "Server") -> Iterator[None]:
    """Raise `NoWay` where the block does not fail at the server itself, but at its certificate or at a proxy."""
    try:
        yield
    except aiohttp.ClientHttpProxyError as error:
        raise _proxy(server, f"{error.status} {error.message}".strip(), lasting=error.status < 500) from None
    except _PROXY_ERRORS as error:
        reason = error.os_error if isinstance(error, aiohttp.ClientProxyConnectionError) else error
        raise _proxy(server, str(getattr(reason, "strerror", None) or reason), lasting=False) from None
    except (aiohttp.ClientError, ssl.SSLError) as error:
        # Each way through aiohttp has its own place for it.
        for found in (
            getattr(error, "certificate_error", None),
            getattr(error, "os_error", None),
            error.__cause__,
            error,
        ):
            if isinstance(found, ssl.SSLError):
                raise _certificate(server, found) from None
        raise


def refused_by_proxy(server: "Server", detail: str) -> NoWay:
    """Return what a reply of the proxy itself means: 407, it wants a name and a password."""
    return _proxy(server, f"407 {detail}".strip(), lasting=True)


def _certificate(server: "Server", error: ssl.SSLError) -> NoWay:
    if isinstance(error, ssl.SSLCertVerificationError):
        key, reason = "technical.certificate", error.verify_message or str(error)
    else:
        key, reason = "technical.no_encryption", error.reason or str(error)
    return NoWay(key, url=server.base_url, reason=reason, lasting=True)


def _proxy(server: "Server", reason: str, *, lasting: bool) -> NoWay:
    proxy = hide_login(proxy_for(server))
    return NoWay("technical.proxy", proxy=proxy, url=server.base_url, reason=reason, lasting=lasting)
