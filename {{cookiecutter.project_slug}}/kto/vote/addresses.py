"""The port that people connect to, and the addresses under which they reach it."""

import contextlib
import ipaddress
import socket
from urllib.parse import urlsplit

from kto.errors import UserError


def read_port(text: str) -> int:
    """Return the port that an option names; raise `UserError` if it is none."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise UserError("bad_port", port=text)
    return int(text)


def read_url(text: str) -> str:
    """Return the address of the page that an option names, up to what follows in links, /vote/; "" for none.

    Raises `UserError` if it is no address.
    """
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise UserError("technical.bad_url", url=text)
    return text.rstrip("/").removesuffix("/vote")


def listen(host: str, port: int) -> socket.socket:
    """Open the port before anything slow happens; raise `UserError` if that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # With both families :: is every interface, as 0.0.0.0 and nothing are.
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        raise UserError("port_taken", host=host, port=port, reason=error) from None


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a host, by its name or address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def addresses(host: str, listener: socket.socket) -> tuple[str, list[str]]:
    """Return the address for this machine and those for others in the network."""
    bound, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(bound).is_unspecified:
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return url, [] if is_loopback(bound) else [url]
    import psutil

    up = [name for name, state in psutil.net_if_stats().items() if state.isup]
    interfaces = [item for name in up for item in psutil.net_if_addrs().get(name, []) if item.family == socket.AF_INET]
    others = [item.address for item in interfaces if not item.address.startswith("127.")]
    others.sort(key=lambda address: address != _outward())  # first the one that others are most likely to reach
    return f"http://127.0.0.1:{port}", [f"http://{address}:{port}" for address in others]


def _outward() -> str:
    """Return the address that this machine has towards the internet, "" if it has none; nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return ""
