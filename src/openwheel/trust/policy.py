"""Decides by policy on sending, learning, training, promoting and exporting."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from openwheel.catalog import Catalog, Checkpoint, Licence, load_catalog
from openwheel.errors import CatalogError, SettingError
from openwheel.settings import (
    LOCAL,
    REPLAY,
    PolicySection,
    Settings,
    TeacherSection,
    teacher_names,
)
from openwheel.trust import rules
from openwheel.trust.decision import Condition, Decision, Point
from openwheel.trust.folders import recognise
from openwheel.trust.lineage import Lineage
from openwheel.trust.model_names import Names
from openwheel.trust.places import checked, is_here, within
from openwheel.trust.terms import Terms, stated


class Policy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The operator's settings with the catalogue.

    Every decision is a pure function of the two. Refusals by licence hold without any setting.

    Attributes:
        section: ``[policy]`` of openwheel.toml.
        teachers: ``[[teachers]]``, by name.
        files: The operator's own catalogue files.
    """

    section: PolicySection = PolicySection()
    teachers: Mapping[str, TeacherSection] = {}
    files: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> "Policy":
        """Return the policy that the settings give, checked.

        Raises:
            SettingError: A place has no valid code, or two teachers have one name.
            CatalogError: A catalogue file of the operator's own cannot be read.
        """
        section = settings.policy
        places = msgspec.structs.replace(
            section,
            regions=checked(section.regions, "policy.regions"),
            jurisdictions=checked(section.jurisdictions, "policy.jurisdictions"),
        )
        names = teacher_names(settings.teachers)
        for name, teacher in zip(names, settings.teachers, strict=True):
            if teacher.jurisdiction:
                checked([teacher.jurisdiction], f"The jurisdiction of teacher {name}")
        policy = cls(
            section=places,
            teachers=dict(zip(names, settings.teachers, strict=True)),
            files=settings.catalog.files,
        )
        if policy.files:
            policy.catalog.get("")  # now, not when the first request needs it
        policy._check_overrides()
        return policy

    @cached_property
    def catalog(self) -> Catalog:
        """The catalogue, with the operator's own files."""
        return load_catalog([Path(path) for path in self.files])

    @cached_property
    def _names(self) -> Names:
        return Names.of(self.catalog)

    @property
    def judges_models(self) -> bool:
        """Whether a request may be refused by its model."""
        section = self.section
        return bool(
            section.licences
            or section.forbidden_licences
            or section.unknown == "refuse"
            or section.regions
            or section.use == "commercial"
            or section.sells_models
            or section.yearly_revenue is not None
            or section.monthly_users is not None
        )

    def terms_of(self, teacher: str, model: str = "") -> Terms:
        """Return the terms of a teacher's answers.

        The operator's settings come first: the teacher's `licence`, its `checkpoint`, then
        `policy.models`. After them the model's name is looked up among the catalogue's checkpoints,
        then the host of the teacher's URL and the model's name among its services.

        Args:
            teacher: Its name; ``""`` for a log that was imported.
            model: As the client or the endpoint named it.
        """
        section = self.teachers.get(teacher, TeacherSection(url=""))
        shown = " ".join(filter(None, ["teacher", teacher, f"({model})" if model else ""]))
        if not teacher:
            shown = f"model {model}" if model else "a teacher without a name"
        base = Terms(
            subject=shown,
            role="teacher",
            training=section.training,
            terms=section.terms,
            jurisdiction=section.jurisdiction,
        )
        local = section.url.removeprefix(LOCAL) if section.url.startswith(LOCAL) else ""
        checkpoint = section.checkpoint or local.partition("@")[0] or self._mapped(model)
        if section.licence or checkpoint:
            rows = self._rows(checkpoint)
            if local and Path(local).expanduser().is_dir():
                rows = recognise(Path(local).expanduser(), self.catalog).rows
            licences = _all(self, rows)
            if section.licence:
                licences = self._licences(section.licence)
            elif not rows and not (section.checkpoint or local):
                licences = self._licences(checkpoint)
            return msgspec.structs.replace(
                base,
                checkpoint=rows[0].id if len(rows) == 1 else section.checkpoint,
                licences=licences,
                told_by="settings",
            )
        rows = self._rows(model)
        licences = _all(self, rows)
        if not rows:
            service = self.catalog.service(urlsplit(section.url).hostname or "", model)
            licences = () if service is None else (self.catalog.licence(service.licence),)
        return self._with_rows(base, rows, licences, "name")

    def terms_of_base(self, checkpoint: str) -> Terms:
        """Return the terms of a checkpoint, by hub id or folder.

        The operator's `policy.models` comes first. A folder is recognised by its contents, whatever
        its name; an id is looked up in the catalogue.
        """
        base = Terms(subject=f"checkpoint {checkpoint}", role="base", checkpoint=checkpoint)
        path = Path(checkpoint).expanduser()
        mapped = self._mapped(checkpoint) or self._mapped(str(path.absolute()))
        if mapped or not path.exists():
            rows = self._rows(mapped or checkpoint)
            licences = _all(self, rows) if rows else self._licences(mapped)
            told_by: Literal["settings", "name"] = "settings" if mapped else "name"
            return self._with_rows(base, rows, licences, told_by)
        folder = recognise(path, self.catalog)
        licences = _all(self, folder.rows) if folder.rows else self._licences(folder.licence)
        terms = self._with_rows(base, folder.rows, licences, folder.told_by)
        return msgspec.structs.replace(terms, hint=folder.hint)

    def may_send(self, teacher: str, model: str | None = None) -> Decision:
        """Decide whether a request for a model (``""`` if it names none) may be sent to a teacher.

        Without a model the teacher itself is judged, by its place and its settings.
        """
        section = self.teachers.get(teacher)
        if section is not None and (refusal := self._out_of_bounds(teacher, section)):
            return refusal
        if model is None and section is not None and not _says(section):
            return Decision(point="send", subject=f"teacher {teacher}", allowed=True)
        return self._judge(self.terms_of(teacher, model or ""), "send")

    def may_learn_from(self, teacher: str, model: str = "") -> Decision:
        """Decide whether a student may be trained on answers of a teacher's model."""
        return self._judge(self.terms_of(teacher, model), "learn")

    def may_train(self, checkpoint: str) -> Decision:
        """Decide whether a student may be built on a checkpoint."""
        return self._judge(self.terms_of_base(checkpoint), "train")

    def may_promote(self, lineage: Lineage) -> Decision:
        """Decide whether a student may answer traffic, by its lineage."""
        return self._made_of(lineage, "promote")

    def may_export(self, lineage: Lineage, name: str = "") -> Decision:
        """Decide whether a student may be exported.

        Args:
            lineage: Of the student.
            name: The name under which it is passed on; ``""`` if it is not.
        """
        decision = self._made_of(lineage, "export")
        if not decision.allowed or not name:
            return decision
        for condition in decision.conditions:
            if condition.about == "name" and not name.startswith(condition.text):
                return decision.refused(
                    licence=condition.licence,
                    reason=f"{condition.licence} asks that its name begins with "
                    f"{condition.text!r}, and it is {name!r}",
                    remedy=f"Give it a name that begins with {condition.text!r}",
                )
        return decision

    def overrides_of(self, *names: str) -> dict[str, str]:
        """Return the written permissions for any of these licences and checkpoints."""
        lowered = {name.lower() for name in names}
        return {k: text for k, text in self.section.overrides.items() if k.lower() in lowered}

    def refused_teachers(self) -> list[Decision]:
        """Return why teachers of the settings may not be asked, as such or for a model."""
        return [decision for decision in self.on_teachers() if not decision.allowed]

    def on_teachers(self) -> Iterable[Decision]:
        """Yield a decision for each teacher, and for each model that its settings list."""
        for name, section in self.teachers.items():
            if section.url.startswith(REPLAY):
                continue
            decision = self.may_send(name)
            yield decision
            if decision.allowed and not _says(section):
                for model in section.models:
                    if not any(mark in model for mark in "*?["):
                        yield self.may_send(name, model)

    def on_bases(self, settings: Settings) -> Iterable[Decision]:
        """Yield a decision for each checkpoint that the settings would have students built on."""
        for name in (settings.loop.encoder, settings.lm.base):
            if name:
                yield self.may_train(name)
        if settings.lm.base and settings.lm.teacher:
            yield self.may_learn_from("", settings.lm.teacher)

    def _made_of(self, lineage: Lineage, point: Point) -> Decision:
        """Judge all parts of a student's lineage again, by the present policy."""
        parts = []
        if lineage.base is not None:
            base = self.terms_of_base(lineage.base.id)
            parts.append(self._with_kept(base, lineage.base.licences))
        for taught in lineage.taught_by:
            terms = self.terms_of(taught.teacher, taught.model)
            if terms.training is None and taught.training:
                terms = msgspec.structs.replace(terms, training=taught.training)
            parts.append(self._with_kept(terms, taught.licences))
        subject = f"student {lineage.student}"
        decisions = [self._judge(terms, point) for terms in parts]
        if not lineage.complete and self.section.unknown == "refuse":
            return Decision(
                point=point,
                subject=subject,
                allowed=False,
                reason="what it was made of was not kept, and `unknown` is set to refuse",
                remedy="Train it again",
            )
        for decision in decisions:
            if not decision.allowed:
                reason = f"{decision.subject}: {decision.reason}"
                return decision.refused(subject=subject, reason=reason)
        return Decision(
            point=point,
            subject=subject,
            allowed=True,
            licence=", ".join(dict.fromkeys(d.licence for d in decisions if d.licence)),
            override="; ".join(dict.fromkeys(d.override for d in decisions if d.override)),
            warnings=tuple(dict.fromkeys(w for d in decisions for w in d.warnings)),
            conditions=tuple(dict.fromkeys(c for d in decisions for c in d.conditions)),
        )

    def _with_rows(
        self,
        terms: Terms,
        rows: tuple[Checkpoint, ...],
        licences: tuple[Licence, ...],
        told_by: Literal["settings", "name", "configuration", "files", "nothing"],
    ) -> Terms:
        return msgspec.structs.replace(
            terms,
            checkpoint=rows[0].id if len(rows) == 1 else terms.checkpoint,
            licences=licences,
            told_by=told_by if licences else "nothing",
        )

    def _with_kept(self, terms: Terms, names: Iterable[str]) -> Terms:
        """Return terms with the licences of a lineage, if none are known any more."""
        if terms.licences:
            return terms
        licences = tuple(licence for name in names for licence in self._licences(name))
        return msgspec.structs.replace(terms, licences=licences)

    def _judge(self, terms: Terms, point: Point) -> Decision:
        """Judge one teacher's answers or one checkpoint under all its licences."""
        decision = Decision(
            point=point, subject=terms.subject, allowed=True, licence=", ".join(terms.names)
        )
        if terms.training == "forbidden" and point != "send":
            return decision.refused(
                reason='its settings say training = "forbidden"',
                clause=terms.terms,
                source="openwheel.toml" if terms.terms else "",
                remedy="Change that under its [[teachers]] in openwheel.toml if it may be",
            )
        overrides: list[str] = []
        warned: list[str] = []
        for licence in terms.licences:
            for objection in rules.objections(licence, terms.role, point, self.section):
                written = self._override(licence.id, terms.checkpoint)
                if written and objection.mendable:
                    overrides.append(written)
                    continue
                return decision.refused(
                    licence=licence.id,
                    reason=objection.reason,
                    clause=objection.clause,
                    source=objection.source,
                    remedy=objection.remedy,
                )
            warned += rules.warnings(licence, terms.role, point, self.section)
        if unknown := self._unknown(terms, point):
            remedy = (
                "Say what it is: `licence`, `checkpoint` or `training` under [[teachers]], or "
                "[policy.models], in openwheel.toml"
                if terms.role == "teacher"
                else f"Say what it is under [policy.models] in openwheel.toml: {terms.named!r} = "
                '"a checkpoint or a licence"'
            )
            if self.section.unknown == "refuse":
                reason = f"{unknown}, and `unknown` is set to refuse"
                return decision.refused(reason=reason, remedy=remedy)
            if terms.role == "base" and terms.told_by == "nothing":
                # A student on unknown weights may be kept, but not promoted or passed on.
                if point in {"promote", "export"}:
                    return decision.refused(reason=unknown, remedy=remedy)
                unknown += f". Until you say it, no student of it is promoted or exported. {remedy}"
            if point != "send":  # unknown terms do not forbid sending
                warned.append(f"{terms.subject}: {unknown}")
        asked: list[Condition] = []
        for licence in terms.licences:
            asked += rules.conditions(licence, terms.role, point, self.section)
        return msgspec.structs.replace(
            decision,
            override="; ".join(dict.fromkeys(overrides)),
            warnings=tuple(warned),
            conditions=tuple(asked),
        )

    def _unknown(self, terms: Terms, point: Point) -> str:
        if not terms.licences:
            if terms.training == "allowed" and point != "send":
                return ""
            return f"its licence is not known{terms.hint}"
        for licence in terms.licences:
            if silence := rules.silence(licence, terms.role, point):
                settled = terms.training == "allowed" or self._override(
                    licence.id, terms.checkpoint
                )
                if not settled:
                    return silence
        return ""

    def _out_of_bounds(self, teacher: str, section: TeacherSection) -> Decision | None:
        """Refuse a teacher in a place where data may not be sent."""
        allowed = self.section.jurisdictions
        if not allowed or section.url.startswith(REPLAY):
            return None
        place = "GB" if section.jurisdiction == "UK" else section.jurisdiction
        if within(place, allowed) if place else is_here(section.url):
            return None
        location = f"it is in {place}" if place else "where it is is not said"
        return Decision(
            point="send",
            subject=f"teacher {teacher}",
            allowed=False,
            reason=f"data may be sent to {', '.join(allowed)} (`jurisdictions`), and {location}",
            remedy="Leave it out, or set its `jurisdiction` or `jurisdictions` under [policy] in "
            "openwheel.toml to what holds",
        )

    def _mapped(self, model: str) -> str:
        models = self.section.models
        if model in models:
            return models[model]
        return next(
            (checkpoint for name, checkpoint in models.items() if fnmatchcase(model, name)), ""
        )

    def _rows(self, name: str) -> tuple[Checkpoint, ...]:
        if not name:
            return ()
        rows = self._names.identify(name)
        # A name that may mean several checkpoints under several licences is not used.
        return rows if len({row.licence for row in rows}) == 1 else ()

    def _licences(self, name: str) -> tuple[Licence, ...]:
        if not name:
            return ()
        try:
            return (self.catalog.licence(name),)
        except CatalogError:
            return (stated(name),)

    def _override(self, *names: str) -> str:
        return next(iter(self.overrides_of(*names).values()), "")

    def _check_overrides(self) -> None:
        """Refuse an override that never applies: most likely its name is misspelt."""
        for name in self.section.overrides:
            of_sections = {section.licence.lower() for section in self.teachers.values()}
            if name.lower() in of_sections or self.catalog.get(name) is not None:
                continue
            try:
                self.catalog.licence(name)
            except CatalogError as error:
                raise SettingError(
                    "policy.overrides must name licences or checkpoints of the catalogue: "
                    f"{str(error).removeprefix('The catalogue has ')}"
                ) from None


def _says(section: TeacherSection) -> bool:
    """Return whether a teacher's settings name what it serves, for any model asked for."""
    return bool(section.licence or section.checkpoint) or section.url.startswith(LOCAL)


def _all(policy: Policy, rows: Iterable[Checkpoint]) -> tuple[Licence, ...]:
    licences = (licence for row in rows for licence in policy.catalog.licences_of(row))
    return tuple({licence.id: licence for licence in licences}.values())
