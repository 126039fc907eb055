"""An agreement as an ODRL 2.2 Agreement (JSON-LD), for machines of other systems. Pure.

What ODRL has no word for (items with masks, CQL2 scope, quotas by day, hashes) is said in our own terms.
"""

from __future__ import annotations

from typing import Any

from exchange.agreements.models import Agreement
from exchange.terms import Purpose, ResourceTerms, Terms

MEDIA_TYPE = "application/ld+json"
PROFILE = "urn:zhengtong:odrl:1"
CONTEXT: list[Any] = [
    "http://www.w3.org/ns/odrl.jsonld",
    {
        "zt": "urn:zhengtong:odrl:1#",
        "dct": "http://purl.org/dc/terms/",
        "xsd": "http://www.w3.org/2001/XMLSchema#",
    },
]


def to_odrl(agreement: Agreement) -> dict[str, Any]:
    """The agreement as JSON-LD: one permission for each resource, with the duty to delete."""
    terms = agreement.typed
    policy: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "Agreement",
        "uid": agreement.id.urn,
        "profile": PROFILE,
        "assigner": agreement.provider_id.urn,
        "assignee": agreement.requester_id.urn,
        "dct:issued": {"@value": agreement.in_force_at.isoformat(), "@type": "xsd:dateTime"},
        "zt:state": agreement.state,
        "zt:version": agreement.number,
        "zt:termsHash": agreement.terms_hash,
        "zt:contentHash": agreement.content_hash,
        "zt:method": terms.method.value,
        "permission": [_permission(part, terms) for part in terms.resources],
    }
    if agreement.supersedes_id:
        policy["dct:replaces"] = agreement.supersedes_id.urn
    if terms.security_measures:
        policy["zt:securityMeasures"] = terms.security_measures
    return policy


def _permission(part: ResourceTerms, terms: Terms) -> dict[str, Any]:
    target: dict[str, Any] = {
        "@type": "AssetCollection",
        "source": part.resource_id.urn,
        "zt:items": [
            {
                "zt:code": item.code,
                "zt:mask": item.mask.model_dump(mode="json"),
                "zt:filterOnMasked": item.filter_on_masked,
            }
            for item in part.items
        ],
    }
    if part.scope is not None:
        target["refinement"] = [_constraint("zt:cql2", "eq", part.scope)]
    quota = terms.quota
    return {
        "target": target,
        "action": "use",
        "constraint": [
            _constraint("purpose", "isAnyOf", [_purpose(purpose) for purpose in terms.purposes]),
            _constraint("dateTime", "gteq", {"@value": terms.valid_from.isoformat(), "@type": "xsd:date"}),
            _constraint("dateTime", "lteq", {"@value": terms.valid_until.isoformat(), "@type": "xsd:date"}),
            _constraint("zt:callsPerDay", "lteq", quota.calls_per_day),
            _constraint("zt:rowsPerDay", "lteq", quota.rows_per_day),
            _constraint("zt:rowsPerCall", "lteq", quota.rows_per_call),
            *([_constraint("zt:concurrentCalls", "lteq", most)] if (most := quota.concurrent_calls) else []),
        ],
        "duty": [_disposal(terms)],
    }


def _purpose(purpose: Purpose) -> dict[str, str]:
    return {
        "zt:code": purpose.code,
        "dct:description": purpose.text,
        "zt:businessMatter": purpose.business_matter,
        "zt:legalBasis": purpose.legal_basis,
    }


def _disposal(terms: Terms) -> dict[str, Any]:
    kept = {"@value": f"P{terms.retention_days}D", "@type": "xsd:duration"}
    duty: dict[str, Any] = {"action": "delete", "constraint": [_constraint("elapsedTime", "lteq", kept)]}
    if terms.disposal:
        duty["dct:description"] = terms.disposal
    return duty


def _constraint(left: str, operator: str, right: Any) -> dict[str, Any]:
    return {"leftOperand": left, "operator": operator, "rightOperand": right}
