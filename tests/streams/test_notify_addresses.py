"""Nothing is sent to where nothing may be sent, however its address is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from streams.notify_addresses import (
    NEVER,
    WITHIN,
    AddressPolicy,
    endpoint,
    host_problem,
    network_problem,
)

PUBLIC = AddressPolicy()
HOUSE = AddressPolicy.of(WITHIN)

REFUSED = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "0.0.0.0",  # noqa: S104 - it is refused
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "::ffff:192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.1",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:1:2:3:4:5:6",
    "2001:db8::1",
    "fc00::1",
    "fd12:3456::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%1",
    "fec0::1",
    "ff02::1",
    "localhost",
    "",
    "0177.0.0.1",
]
ALLOWED = [
    "8.8.8.8",
    "1.1.1.1",
    "100.128.0.1",
    "172.32.0.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert PUBLIC.refusal(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_what_is_public_is_not(address: str) -> None:
    assert PUBLIC.refusal(address) == ""


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.2.0.1", False),
        ("8.8.8.8", True),
        # A gateway would make this of it; only what is public goes through one.
        ("64:ff9b::a01:203", False),
        ("169.254.169.254", False),
    ],
)
def test_a_network_is_allowed_by_name_and_nothing_beside_it(address: str, is_allowed: bool) -> None:
    assert (AddressPolicy.of(["10.1.0.0/16"]).refusal(address) == "") == is_allowed


@given(st.sampled_from(NEVER), st.integers(min_value=0))
def test_what_is_nobodys_is_refused_whatever_is_allowed(network: object, number: int) -> None:
    assert network in NEVER
    chosen = NEVER[NEVER.index(network)]
    address = chosen[number % chosen.num_addresses]
    assert HOUSE.refusal(str(address))
    everything = AddressPolicy.of(["0.0.0.0/0", "::/0"])
    assert everything.refusal(str(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_disguise(address: IPv4Address) -> None:
    plain = PUBLIC.refusal(str(address)) == ""
    disguises = (
        IPv6Address(0xFFFF_0000_0000 + int(address)),
        IPv6Address((0x64_FF9B << 96) + int(address)),
        IPv6Address((0x2002 << 112) + (int(address) << 80) + 1),
    )
    mapped, nat64, six_to_four = (PUBLIC.refusal(str(each)) == "" for each in disguises)
    assert mapped == nat64 == plain
    # More of it may be refused, never less.
    assert plain or not six_to_four
    inside = HOUSE.refusal(str(address)) == ""
    assert (HOUSE.refusal(str(disguises[0])) == "") == inside


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.20.0.0/16", ""),
        ("127.0.0.1/32", ""),
        ("192.168.7.4", ""),
        ("fd12::/16", ""),
        ("0.0.0.0/0", "lies in none of"),
        ("::/0", "lies in none of"),
        ("169.254.0.0/16", "lies in none of"),
        ("8.8.8.0/24", "lies in none of"),
        ("::ffff:10.0.0.0/104", "lies in none of"),
        ("10.20.0.1/16", "is no network"),
        ("house", "is no network"),
    ],
)
def test_only_networks_of_the_house_can_be_allowed(text: str, said: str) -> None:
    assert network_problem(text).startswith(said)
    assert bool(network_problem(text)) == bool(said)


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://hooks.example.com", "hooks.example.com", 443, "/"),
        ("https://Hooks.Example.COM:8443/a/b?c=d", "hooks.example.com", 8443, "/a/b?c=d"),
        ("http://alertmanager:9093", "alertmanager", 9093, "/"),
        ("https://[2606:4700::1]:1/x", "2606:4700::1", 1, "/x"),
        ("https://10.0.0.1/x", "10.0.0.1", 443, "/x"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/"),
    ],
)
def test_the_parts_of_a_url(url: str, host: str, port: int, path: str) -> None:
    parts = endpoint(url)
    assert (parts.host, parts.port, parts.path) == (host, port, path)
    assert endpoint(parts.url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hooks.example.com/",
        "HTTPS://hooks.example.com/",
        "https://user:word@hooks.example.com/",
        "https://hooks.example.com@evil.example/",
        "https://hooks.example.com\\@evil.example/",
        "https://hooks.example.com/#a",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:65536/",
        "https:///path",
        "https://127.1/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://1.2.3.4.5/",
        "https://bücher.example/",
        "https://ｌocalhost/",
        "https://exa mple.com/",
        "https://example.com/\r\nx: y",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[hooks.example.com]/",
        "https://::1/",
        "https://example..com/",
        "https://-example.com/",
        f"https://example.com/{'a' * 2_000}",
    ],
)
def test_urls_that_may_be_read_in_two_ways_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"should be http|its host|its port"):
        endpoint(url)


@given(st.text(alphabet="aZ9.-_[]:@/\\#?%0x \té", max_size=40).map(lambda rest: f"https://{rest}"))
def test_the_client_reads_a_url_as_we_do(text: str) -> None:
    try:
        parts = endpoint(text)
    except ValueError:
        return
    theirs = URL(parts.url)
    assert (theirs.scheme, theirs.raw_host, theirs.port) == ("https", parts.host, parts.port)
    assert theirs.user is None
    assert host_problem(parts.host) == ""
