"""The number of accepted requests is limited for each tenant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.server.concurrency.tenant_admission import TenantAdmission


def filled(admission: TenantAdmission, tenant: str, running: int) -> int:
    """How many a tenant gets that takes all it may have, one by one."""
    count = 0
    while admission.get_allowance(tenant, running):
        admission.add_requests(tenant)
        count += 1
    return count


def test_each_further_tenant_may_fill_half_of_the_remaining_queue() -> None:
    admission = TenantAdmission(8)
    assert [filled(admission, tenant, 2) for tenant in ("acme", "bolt", "cats")] == [6, 3, 1]


def test_finished_requests_no_longer_count_toward_the_allowance() -> None:
    admission = TenantAdmission(4)
    with admission.track_requests("acme", 2):
        assert not admission.get_allowance("acme", 0)
        assert admission.get_allowance("bolt", 0, 9) == 1
    assert admission.get_allowance("acme", 0, 9) == 2
    assert len(admission) == 0


@given(
    waiting=st.integers(1, 20),
    running=st.integers(0, 20),
    taken=st.lists(st.tuples(st.sampled_from(["acme", "bolt", "cats"]), st.integers(1, 30)), max_size=20),
    most=st.integers(1, 40),
)
def test_the_allowance_for_several_requests_equals_that_for_single_requests_in_sequence(
    waiting: int, running: int, taken: list[tuple[str, int]], most: int
) -> None:
    """A further tenant has an allowance, too, if at most one tenant has requests."""
    admission, single = TenantAdmission(waiting), TenantAdmission(waiting)
    for tenant, wanted in taken:
        allowance = admission.get_allowance(tenant, running, wanted)
        admission.add_requests(tenant, allowance)
        singly = 0
        while singly < wanted and single.get_allowance(tenant, running):
            single.add_requests(tenant)
            singly += 1
        assert allowance == singly
    tenants = {tenant for tenant, _ in taken}
    if len(tenants) <= 1:
        assert admission.get_allowance("dogs", running, most) >= min(1, most)
