"""The port that people connect to, and the addresses under which they reach it."""

import ipaddress
import socket

from kto.errors import UserError


def read_port(text: str) -> int:
    """Return the port that an option names; raise `UserError` if it is none."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise UserError("bad_port", port=text)
    return int(text)


def listen(host: str, port: int) -> socket.socket:
    """Open the port before anything slow happens; raise `UserError` if that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # With both families :: is every interface, as 0.0.0.0 and nothing are.
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        raise UserError("port_taken", host=host, port=port, reason=error) from None


def is_loopback(listener: socket.socket) -> bool:
    """Tell whether only this machine reaches a listener."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def addresses(host: str, listener: socket.socket) -> tuple[str, list[str]]:
    """Return the address for this machine and those for others in the network."""
    bound, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(bound).is_unspecified:
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return url, [] if is_loopback(listener) else [url]
    import psutil

    up = [name for name, state in psutil.net_if_stats().items() if state.isup]
    interfaces = [item for name in up for item in psutil.net_if_addrs().get(name, []) if item.family == socket.AF_INET]
    others = [item.address for item in interfaces if not item.address.startswith("127.")]
    return f"http://127.0.0.1:{port}", [f"http://{address}:{port}" for address in others]
