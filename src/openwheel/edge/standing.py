"""Says which students are in front of traffic, as an upstream gateway tells its edges."""

import hashlib

import msgspec

from openwheel.loop.records import AuditPlan
from openwheel.loop.registry import Registry
from openwheel.loop.serving import audit_share

_encoder = msgspec.json.Encoder(order="deterministic")


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A student that is in front of its task's traffic.

    Attributes:
        student: Its id.
        certificate: The certificate that it is promoted by.
        audit: The share of the requests it may answer that are audited, in (0, 1].
        canary: The share of its task's requests that it may answer, in (0, 1].
        deferred: Slices that audits took off.
    """

    student: str
    certificate: str
    audit: float
    canary: float = 1.0
    deferred: tuple[str, ...] = ()

    @property
    def plan(self) -> AuditPlan:
        """Its audits, as a registry keeps them."""
        return AuditPlan(
            audit=self.audit, canary=self.canary, deferred=self.deferred, reason="as upstream"
        )


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an edge is to do.

    Attributes:
        edge: The name of the edge's key; ``""`` in a bundle, which is for any edge.
        stopped: Whether a person has stopped all students.
        students: The students in front of traffic, by their tasks' ids.
        bundle: The sha256 of the newest bundle, ``""`` if none is served.
    """

    edge: str = ""
    stopped: bool = False
    students: dict[str, Standing] = {}
    bundle: str = ""

    def encode(self) -> bytes:
        """Return it as JSON, the same bytes for the same state."""
        return _encoder.encode(self)

    @property
    def etag(self) -> str:
        """Its entity tag (RFC 9110, section 8.8.3)."""
        return f'"{hashlib.sha256(self.encode()).hexdigest()[:32]}"'


def standings(registry: Registry, *, outside: str = "") -> dict[str, Standing]:
    """Return the students in front of traffic, by their tasks' ids.

    Args:
        registry: The registry.
        outside: The name of a key. Students that leave its requests to the teacher are left out.
    """
    plans = registry.plans()
    shadows = {shadow.task_id: shadow for shadow, _, _ in registry.candidates(state="shadow")}
    found = {}
    for task_id, promotion in registry.promotions().items():
        certificate = promotion.certificate
        if certificate is None:
            continue
        if outside and outside in registry.candidate(certificate.student).outside:
            continue
        plan = plans.get(promotion.since, AuditPlan(audit=promotion.audit))
        found[task_id] = Standing(
            student=certificate.student,
            certificate=certificate.id,
            audit=audit_share(registry, plan, shadows.get(task_id), promotion),
            canary=plan.canary,
            deferred=plan.deferred,
        )
    return found
