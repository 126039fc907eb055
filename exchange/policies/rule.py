"""What a sharing policy agrees to: to whom, which items how masked, what for, how, how much and how long.

Pure. Owns the rule and whether it covers what is asked for.
"""

from __future__ import annotations

import math
from typing import Annotated
from uuid import UUID

from pydantic import Field

from app.kernel.wire import ShortText, Wire
from exchange.terms import Full, ItemTerm, Method, Quota, ResourceTerms, Terms, Unmasked

NO_LIMIT = math.inf


class PolicyRule(Wire):
    """A rule over one resource. What is asked for is covered where every member lets it through."""

    title: ShortText
    requesters: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=200)]  # agencies
    items: Annotated[tuple[ItemTerm, ...], Field(min_length=1, max_length=500)]
    scope: str | None = None  # CQL2; asked for word for word where it is set
    business_matters: Annotated[tuple[ShortText, ...], Field(min_length=1, max_length=50)]
    methods: Annotated[tuple[Method, ...], Field(min_length=1, max_length=4)]
    quota: Quota  # the most of each
    longest_days: Annotated[int, Field(ge=1, le=3660)]
    longest_retention_days: Annotated[int, Field(ge=0, le=36525)]


def covers(rule: PolicyRule, requester_id: UUID, terms: Terms, part: ResourceTerms) -> bool:
    """Whether the rule agrees to `part` of these terms for this agency."""
    quota, most = terms.quota, rule.quota
    return (
        requester_id in rule.requesters
        and terms.method in rule.methods
        and all(purpose.business_matter in rule.business_matters for purpose in terms.purposes)
        and (terms.valid_until - terms.valid_from).days < rule.longest_days
        and terms.retention_days <= rule.longest_retention_days
        and quota.calls_per_day <= most.calls_per_day
        and quota.rows_per_day <= most.rows_per_day
        and quota.rows_per_call <= most.rows_per_call
        and (quota.concurrent_calls or NO_LIMIT) <= (most.concurrent_calls or NO_LIMIT)
        and (rule.scope is None or part.scope == rule.scope)
        and all(_lets_through(rule, item) for item in part.items)
    )


def _lets_through(rule: PolicyRule, asked: ItemTerm) -> bool:
    allowed = next((item for item in rule.items if item.code == asked.code), None)
    if allowed is None or (asked.filter_on_masked and not allowed.filter_on_masked):
        return False
    # What is hidden whole is never more than what a mask leaves.
    return asked.mask == allowed.mask or isinstance(allowed.mask, Unmasked) or isinstance(asked.mask, Full)
