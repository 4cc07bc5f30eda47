"""Which addresses webhooks may be sent to: text when it is named, IP addresses when they are connected to."""

import pytest

from schemas.errors import RejectedError
from schemas.webhook_addresses import forbidden_ip, parse_address

REFUSED = [
    "http://shop.example.com/hook", "https://user:secret@shop.example.com/", "https://user@shop.example.com/",
    "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://[fe80::1]/", "https://10.1.2.3/",
    "https://169.254.169.254/latest/meta-data", "https://100.64.0.1/", "https://localhost/", "https://a.localhost/",
    "https://db.internal/", "https://router/", "https://nas.home.arpa/", "https://0x7f.1/", "https://2130706433/",
    "https://127.1/", "https://0177.0.0.1/", "https://1.2.3.4.5/", "https://shop.example.com:22/",
    "https://shop.example.com:0/", "https://shop.example.com:99999/", "https://shop.example.com/#part",
    "https://shop.example.com\\@evil.example/", "https://shop.example.com/ space", "https://shop..example.com/",
    "ftp://shop.example.com/", "https://", "https:///path", "//shop.example.com/", "https://shop.example.com/\n",
    "https://sh\u00f6p.example/", "https://shop.example.com/\u00e9", "https://" + "a" * 2_000 + ".example.com/", "",
    "https://[::1%25eth0]/", "https://shop.example.com:443:443/", "https://-shop.example.com/",
]  # fmt: skip
INSIDE = [
    "0.0.0.1", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1", "", "localhost",
]  # fmt: skip
OUTSIDE = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"]


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_could_lead_inside_is_refused(url):
    """Everything but https to a public name or address, on a port of no well-known service, is refused."""
    with pytest.raises(RejectedError) as refused:
        parse_address(url, allow_private=False)
    assert (refused.value.code, refused.value.path) == ("bad_url", "$.url")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://shop.example.com", ("https", "shop.example.com", 443)),
        ("https://Shop.Example.com:8443/hooks?x=1&y=%20", ("https", "shop.example.com", 8443)),
        ("https://8.8.8.8/hook", ("https", "8.8.8.8", 443)),
        ("https://[2606:4700::1111]:4430/", ("https", "2606:4700::1111", 4430)),
        ("https://xn--shp-sna.example/", ("https", "xn--shp-sna.example", 443)),
    ],
)
def test_a_public_https_address_is_taken(url, parts):
    """Names, addresses, ports and queries of the public internet are taken."""
    assert parse_address(url, allow_private=False) == parts


def test_an_operator_may_allow_the_own_network_and_nothing_else():
    """Private hosts and http are then taken; credentials and the ports of other services still are not."""
    assert parse_address("http://localhost:8080/hook", allow_private=True) == ("http", "localhost", 8080)
    assert parse_address("http://[::1]/", allow_private=True) == ("http", "::1", 80)
    for url in ("http://user@localhost/", "http://localhost:22/", "https://0x7f.1/"):
        with pytest.raises(RejectedError):
            parse_address(url, allow_private=True)


@pytest.mark.parametrize("address", INSIDE)
def test_an_ip_address_of_no_public_network_is_forbidden(address):
    """Private, loopback, link-local, shared, multicast, reserved and embedded addresses are never connected to."""
    assert forbidden_ip(address) is not None


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_ip_address_on_the_internet_is_allowed(address):
    """Public addresses are connected to, those beside a private network as well."""
    assert forbidden_ip(address) is None
