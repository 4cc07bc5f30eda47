"""Where webhooks may be sent: addresses that merchants name must not lead into the operator's own network (SSRF).

An address is looked at twice: as a text when it is named, and as what its host resolves to when a connection is made
(`forbidden_ip`, on the very address that is connected to). The second look is the one that counts.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from schemas.errors import RejectedError

URL_LENGTH_MAX = 2_000
HTTPS_PORT, HTTP_PORT, PORT_FREE_MIN = 443, 80, 1024
_PORT_MAX = 65_535

# ASCII alone, and nothing that two parsers could read in two ways: no credentials, no backslash, no fragment.
_URL = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::([0-9]{1,5}))?"
    r"((?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)",
    re.ASCII,
)
_NUMERIC = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)(?:\.(?:0[xX][0-9A-Fa-f]*|[0-9]+))*", re.ASCII)
_LOCAL_NAMES = ("localhost", "local", "internal", "localdomain", "home.arpa", "intranet", "lan")

# What `is_global` lets through in one version of Python or another, or what leads back to an IPv4 address.
_NEVER_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
# Global unicast, without what is taken out of it: Teredo, 6to4, documentation, benchmarking, ORCHID.
_GLOBAL_V6 = IPv6Network("2000::/3")
_NEVER_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))


class Address(NamedTuple):
    """The parts of a webhook's address."""

    scheme: str
    host: str
    port: int


def forbidden_ip(address: str) -> str | None:
    """Return why no webhook may be sent to the IP address, None where one may: it is on the open internet."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return "is no IP address"
    if isinstance(ip, IPv4Address):
        inside = any(ip in network for network in _NEVER_V4) or not ip.is_global
    else:
        # Also every IPv6 address that stands for an IPv4 one (::ffff:0:0/96, 64:ff9b::/96): outside of 2000::/3.
        inside = ip not in _GLOBAL_V6 or any(ip in network for network in _NEVER_V6) or not ip.is_global
    return "is not on the public internet" if inside else None


def parse_address(url: str, *, allow_private: bool) -> Address:
    """Return the parts of the address. Raises RejectedError `bad_url` at `$.url`, saying what is wrong with it.

    With `allow_private` also http, and hosts of the operator's own network.
    """
    matched = _URL.fullmatch(url) if len(url) <= URL_LENGTH_MAX else None
    if matched is None:
        raise _bad("must be an https address in ASCII, without user, password or fragment")
    scheme, host, port = matched[1], matched[2].lower(), matched[3]
    if scheme != "https" and not allow_private:
        raise _bad("must begin with https://")
    address = Address(scheme, host.strip("[]"), int(port) if port else _DEFAULT_PORTS[scheme])
    _check_port(address)
    _check_host(address.host, allow_private=allow_private)
    return address


_DEFAULT_PORTS = {"https": HTTPS_PORT, "http": HTTP_PORT}


def _check_port(address: Address) -> None:
    if address.port != _DEFAULT_PORTS[address.scheme] and not PORT_FREE_MIN <= address.port <= _PORT_MAX:
        raise _bad(f"the port must be {_DEFAULT_PORTS[address.scheme]}, or from {PORT_FREE_MIN} to {_PORT_MAX}")


def _check_host(host: str, *, allow_private: bool) -> None:
    try:
        ip_address(host)
    except ValueError:
        # 127.1, 0x7f000001, 2130706433: old ways to write an address, which some resolver may still understand.
        if ":" in host or _NUMERIC.fullmatch(host) or ".." in host:
            raise _bad("the host is no name and no whole IP address") from None
        is_local = "." not in host or host.rpartition(".")[2] in _LOCAL_NAMES or host.endswith(".home.arpa")
        if is_local and not allow_private:
            raise _bad("the host is not on the public internet") from None
        return
    if not allow_private and (reason := forbidden_ip(host)):
        raise _bad(f"the host {reason}")


def _bad(reason: str) -> RejectedError:
    return RejectedError.at("$.url", "bad_url", reason)
