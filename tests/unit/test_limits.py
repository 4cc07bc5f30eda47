"""Token buckets, in memory and with the time as an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.limits import Buckets, address_of


def test_a_bucket_lets_a_burst_pass_and_then_refills():
    """A full bucket gives `burst` calls at once, then one every 1/per_s seconds, and says how long to wait for it."""
    buckets = Buckets(per_s=0.5, burst=3)
    assert [buckets.spend("a", 10.0)[::2] for _ in range(4)] == [(2, 0), (1, 0), (0, 0), (0, 2)]
    assert buckets.spend("a", 11.9).wait_s == 1
    assert buckets.spend("a", 12.0).wait_s == 0
    assert buckets.spend("a", 12.0).wait_s == 2


def test_a_refused_call_costs_nothing():
    """Whoever asks in vain does not wait longer for it."""
    buckets = Buckets(per_s=1, burst=1)
    buckets.spend("a", 0.0)
    assert {buckets.spend("a", 0.5).wait_s for _ in range(100)} == {1}
    assert buckets.spend("a", 1.0).wait_s == 0


def test_buckets_are_apart():
    """What one key spends, another one has still."""
    buckets = Buckets(per_s=1, burst=1)
    buckets.spend("a", 0.0)
    assert buckets.spend("a", 0.0).wait_s == 1
    assert buckets.spend("b", 0.0).wait_s == 0


def test_looking_takes_nothing():
    """To look into a bucket does not empty it, and makes none."""
    buckets = Buckets(per_s=1, burst=1)
    assert [buckets.look("a", 0.0) for _ in range(3)] == [(1, 0, 0)] * 3
    assert len(buckets) == 0


def test_memory_is_bounded():
    """However many names there are, only so many are kept; those used last stay."""
    buckets = Buckets(per_s=1, burst=1, kept_max=10)
    for number in range(1_000):
        buckets.spend(str(number), 0.0)
    assert len(buckets) == 10
    assert buckets.spend("999", 0.0).wait_s == 1


@given(
    per_s=st.floats(0.01, 1_000), burst=st.integers(1, 1_000),
    pauses_s=st.lists(st.floats(0, 10), min_size=1, max_size=60),
)  # fmt: skip
def test_no_more_pass_than_the_policy_says(per_s: float, burst: int, pauses_s: list[float]):
    """Over any time, at most `burst` and what flowed in meanwhile pass; what is told of the rest is never negative."""
    buckets, now_s, passed = Buckets(per_s=per_s, burst=burst), 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        quota = buckets.spend("a", now_s)
        passed += not quota.wait_s
        assert 0 <= quota.remaining <= burst
        assert quota.full_in_s >= 0
    assert passed <= burst + now_s * per_s + 1e-6


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, ""),
        ("/run/web.sock", ""),
    ],
)
def test_addresses_are_counted_as_one_customer_has_them(remote: str | None, name: str):
    """An IPv6 customer has a whole /64, and counts once; who has no address shares one bucket."""
    assert address_of(remote) == name
