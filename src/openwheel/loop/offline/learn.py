"""Learns from a complete log: trains on the past, certifies on the latest part."""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel import __version__
from openwheel.errors import EngineError, ModelError, PolicyError, SettingError, TeacherError
from openwheel.executors import Computing, away, in_order, session_of
from openwheel.gate import growth_needed, spent
from openwheel.gate.arrival_order import OrderEvidence, order_evidence
from openwheel.loop.audit.shares import first_plan
from openwheel.loop.data import FEWEST_LABELLED, TaskData, load_answers, split
from openwheel.loop.feedback.corrections import corrected
from openwheel.loop.leases import FINDING, Leases, LeasesAlone, OtherLearnerError, of_task
from openwheel.loop.offline.findings import Finding, Findings, Point
from openwheel.loop.records import Candidate, Event, TaskRecord
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.loop.settings import LoopSettings, of_no_task
from openwheel.loop.subject import Subject, believed_by, subject_of, why_left
from openwheel.loop.turn import explain, failures
from openwheel.loop.turn.certify import Calibrated, calibrate, now, write_certificate
from openwheel.loop.turn.choose import Trained
from openwheel.loop.turn.curate import curate
from openwheel.loop.turn.outsiders import Parts, train_inside
from openwheel.loop.turn.room import shortage_messages
from openwheel.loop.turn.save import keep_refused, save_candidate
from openwheel.loop.turn.standing import certify_task_anew, compared_otherwise
from openwheel.loop.turn.training import Training
from openwheel.progress import Progress, each, silent
from openwheel.signals import finishing
from openwheel.store import Store
from openwheel.students import train
from openwheel.tasks import FORMS, TaskMatcher

SURPRISED = 0.25
"""A student that was predicted to pass and did not needs at least this share more."""

PATIENCE_S = 600.0
"""Seconds to wait for a learner that is finding tasks, or at a task."""

LEARNING_RATE = 0.35
"""Disagreement falls as traffic to the power of minus this, if there is too little data to fit
it."""


def learn(
    store: Store,
    settings: LoopSettings,
    *,
    source: str,
    shuffle: int | None = None,
    details: bool = False,
    leases: Leases | None = None,
    resources: Resources = NO_RESOURCES,
    progress: Progress = silent,
) -> Findings:
    """Find tasks in all stored exchanges, and try to certify a student for each learnable one.

    Args:
        source: Where the traffic came from, in words.
        shuffle: Declares the exchanges exchangeable, and puts them in the random order of this
            seed.
        details: Also trace learning curves, which takes half as long again.
        leases: Shares the work with learners; None where there are none.

    Raises:
        ModelError: What carries out the training elsewhere cannot be reached.
        OtherLearnerError: A learner is finding tasks, for longer than this waits.
        LeaseLostError: Another learner has begun to do the same meanwhile.
    """
    leases = LeasesAlone(store) if leases is None else leases
    failures.notice(store, alone=leases.alone)
    progress("finding tasks")
    with leases.held(FINDING, patience=PATIENCE_S) as lease:
        if lease is None:
            raise OtherLearnerError(f"Another learner is finding tasks in {store}")
        looked_at = curate(lease.store, Registry(lease.store), settings, progress=progress)
    registry = Registry(store)
    counts = store.task_counts()
    ended: list[Event] = []
    known = registry.tasks()
    matcher = TaskMatcher([record.task for record in known])
    records = [record for record in known if counts.get(record.task.id)]
    learning = each(
        progress,
        "learning",
        records,
        "exchanges",
        total=sum(counts[record.task.id] for record in records),
        size=lambda record: counts[record.task.id],
    )

    def learn_one(listed: TaskRecord) -> Computing[Finding]:
        """Learn a task under its lease, as it is now that no other learner changes it."""
        task, count = listed.task, counts[listed.task.id]
        progress(f"task {task.name}: {count:,} exchanges, {listed.form}")
        with leases.held(of_task(task.id), patience=PATIENCE_S) as lease:
            if lease is None:
                reason = "Not learned: another learner is at this task."
                return _finding(listed, count, settings, reason=reason)
            own = Registry(lease.store)
            ended.extend(certify_task_anew(own, matcher, task))
            record = own.task(task.id) or listed
            if record.attempts:
                ended.extend(compared_otherwise(own, record, settings))
            if reason := why_left(record, settings):
                reason = f"Left to the teacher: {reason}"
                return _finding(record, count, settings, reason=reason)
            data = load_answers(
                store,
                task.id,
                record.form,
                record.folds,
                until=looked_at,
                policy=settings.policy,
            )
            try:
                return (
                    yield from _learn_task(
                        own,
                        subject_of(own, record, settings, resources),
                        data,
                        shuffle=shuffle,
                        details=details,
                        progress=progress,
                    )
                )
            except (EngineError, ModelError, SettingError, TeacherError) as error:
                reason = f"Not learned: {error}"  # other tasks go on
                return _finding(record, len(data), settings, reason=reason)

    with session_of(resources.executor) as session:
        if session is not None:
            session.require()
        findings = list(in_order(map(learn_one, learning), session))
    findings.sort(key=lambda finding: -finding.n)
    return Findings(
        created=now(),
        version=__version__,
        source=source,
        exchanges=sum(counts.values()),
        unassigned=counts.get(None, 0),
        tasks=tuple(findings),
        warnings=(
            *shortage_messages(registry.beyond()),
            *of_no_task(settings.tasks, {finding.name for finding in findings}),
            *(f"{event.task}: {event.reason}" for event in ended),
            *(f"{f.name}: {text}" for f in findings for text in f.warnings),
        ),
    )


def _finding(record: TaskRecord, n: int, settings: LoopSettings, *, reason: str) -> Finding:
    template = record.task.template
    return Finding(
        task=record.task.id,
        name=record.task.name,
        template=template.describe() if template is not None else "",
        form=record.form,
        n=n,
        epsilon=settings.of_task(record.task.name).epsilon,
        delta=settings.delta,
        reason=reason,
    )


def _learn_task(
    registry: Registry,
    subject: Subject,
    data: TaskData,
    *,
    shuffle: int | None,
    details: bool,
    progress: Progress,
) -> Computing[Finding]:
    n, record, settings = int(data.trains.sum()), subject.record, subject.settings
    finding = msgspec.structs.replace(
        _finding(record, n, settings, reason=""), warnings=explain.left_out(data.left_out)
    )
    lacking = _lacking(finding, data)
    if lacking is not None:
        return lacking
    judged = registry.judged_until(record.task.id)
    data, order = _in_order(data, shuffle, judged)
    if order is not None and not order.in_order:
        reason = (
            f"Refused: {order.reason} The promise rests on calibration exchanges that come from "
            "traffic as it came. If the rows are exchangeable, say so with --shuffle SEED."
        )
        return msgspec.structs.replace(
            finding, reason=reason, warnings=(*finding.warnings, order.reason)
        )
    before, calibration = split(data, judged)
    in_the_way = explain.in_the_way(subject, before)
    training, untrained = before.to_train(), before.to_count()
    training = corrected(registry.store, record, training)
    attempt = record.attempts + 1
    fewest = _fewest(subject, attempt) if judged else 0
    progress(f"task {record.task.name}: training on {len(training):,}")
    trouble: list[str] = []

    def train_on(parts: Parts) -> Computing[Trained | None]:
        trained, troubles = yield from away(
            Training(
                subject=subject,
                training=parts.training,
                untrained=parts.untrained,
                calibration=parts.calibration.inputs,
                expected=fewest,
                progress=progress,
            )
        )
        trouble.extend(troubles)
        return trained

    parts = Parts(training, untrained, calibration)
    inside = yield from train_inside(registry, subject, parts, train_on)
    trained, (training, _, calibration), outside = inside
    keys = tuple(outsider.key for outsider in outside)
    warnings = (*finding.warnings, *trouble, *(outsider.message() for outsider in outside))
    finding = msgspec.structs.replace(finding, warnings=warnings)
    if trained is None:
        why_not = (
            "no student could be trained, the warnings say why"
            if trouble
            else "no answer was given to two different inputs, so there is nothing to learn from"
        )
        return msgspec.structs.replace(
            finding,
            reason=f"Refused: {why_not}.{in_the_way}",
        )
    variables = tuple(i + 1 for i in trained.variables)
    finding = msgspec.structs.replace(
        finding,
        rung=trained.student.rung,
        variables=variables,
        expected=explain.expected(trained.plan),
        learning_curve=_learning_curve(subject, training, trained) if details else (),
    )
    if trained.evidence < fewest or (not trained.coverage and trained.growth != 1.0):
        if judged:
            reason = explain.judged_before(int((data.seq <= judged).sum()), len(calibration))
            more = _to_judge(subject, trained, len(calibration), attempt)
            more = more and max(1, more - len(calibration))
        else:
            of_fields = " of fields" if subject.by_field.loss == "fields" else ""
            reason = (
                "Refused: training predicts that no threshold would pass. Out of fold the student "
                f"agrees on {trained.agreement:.1%}{of_fields}, and {trained.evidence:,} votes "
                "among calibration exchanges are not enough evidence at that rate. No share of "
                f"delta was spent.{_blamed(trained)}{in_the_way}"
            )
            # The obstacle has to be removed first; a number would say that more data removes it.
            more = None if in_the_way else _more_needed(subject, training, trained, n, attempt)
        keep_refused(registry, subject, trained, training, outside=keys, refused=reason)
        return msgspec.structs.replace(finding, reason=reason, more_needed=more)
    # All of them are spent as evidence, shuffled or not: a later attempt is judged on what comes.
    subject = believed_by(subject, training)
    keep_refused(registry, subject, trained, training, outside=keys)
    candidate = save_candidate(
        registry,
        subject,
        trained,
        training,
        trained_until=int(data.seq.max()),
        method="betting" if subject.bounded else "binomial",
        outside=keys,
    )
    try:
        progress(f"task {record.task.name}: judging on {len(calibration):,}")
        calibrated = calibrate(
            candidate,
            trained.student,
            training.inputs,
            calibration,
            comparison=subject.comparison,
            request_of=subject.request_of,
            possible=subject.possible,
            progress=progress,
        )
    except KeyboardInterrupt:
        registry.withdraw(candidate.id)
        raise
    with finishing():  # half of a verdict would leave no student, and spent evidence
        return _verdict(
            registry,
            subject,
            finding,
            candidate=candidate,
            calibrated=calibrated,
            trained=trained,
            n_calibration=len(calibration),
            in_the_way=in_the_way,
        )


def _verdict(
    registry: Registry,
    subject: Subject,
    finding: Finding,
    *,
    candidate: Candidate,
    calibrated: Calibrated,
    trained: Trained,
    n_calibration: int,
    in_the_way: str,
) -> Finding:
    """Keep the gate's verdict on a student, and promote one that passed."""
    record, settings = subject.record, subject.settings
    finding = describe(finding, candidate, calibrated)
    registry.set_trained_on(record.task.id, finding.n)
    if calibrated.judgement.chosen is None:
        more = _to_judge(subject, trained, n_calibration, candidate.attempt + 1)
        if more is not None:
            more = max(more, int(SURPRISED * finding.n))
        reason = explain.refused(calibrated.judgement, candidate) + _blamed(trained) + in_the_way
        registry.refuse(candidate, reason)
        return msgspec.structs.replace(finding, reason=reason, more_needed=more)
    certificate = write_certificate(record.task, candidate, calibrated)
    registry.certify(certificate)
    try:
        registry.promote(
            certificate,
            by="turn",
            reason="certified by learn",
            audit=first_plan(settings, record.task.name, by_hand=True).audit,
            policy=settings.policy,
        )
    except PolicyError as error:
        finding = msgspec.structs.replace(
            finding, warnings=(*finding.warnings, f"It was certified and not promoted: {error}")
        )
    return msgspec.structs.replace(
        finding,
        warnings=(*finding.warnings, *explain.remarks(certificate)),
        certified=True,
        certificate=certificate.id,
        reason=explain.passed(calibrated.judgement, candidate),
    )


def describe(finding: Finding, candidate: Candidate, calibrated: Calibrated) -> Finding:
    """Return a finding with the gate's verdict, passed or not."""
    judgement = calibrated.judgement
    best = judgement.best
    deferred, disagreed = explain.examples(calibrated, candidate)
    return msgspec.structs.replace(
        finding,
        rung=candidate.rung,
        student=candidate.id,
        variables=tuple(i + 1 for i in candidate.variables),
        attempt=candidate.attempt,
        delta_spent=candidate.delta_spent,
        threshold=best.threshold if best else None,
        n_calibration=judgement.exchanges,
        answered=best.answered_with_repeats if best else 0,
        disagreements=best.disagreements_with_repeats if best else 0,
        loss=best.loss_with_repeats if best and best.partial_with_repeats else None,
        compared=candidate.compared,
        coverage=(
            best.answered_with_repeats / judgement.exchanges if best and judgement.exchanges else 0
        ),
        bound=judgement.bound,
        expected=explain.expected(candidate.plan),
        trade_off=explain.trade_off(calibrated),
        frontier=explain.frontier(calibrated, candidate.plan),
        reliability=explain.reliability(calibrated),
        confusion=explain.confusion(calibrated) if FORMS[candidate.form].closed else None,
        deferred=deferred,
        disagreed=disagreed,
    )


def _lacking(finding: Finding, data: TaskData) -> Finding | None:
    """Return why exchanges are refused that are too few or in no known order, if they are."""
    if finding.n < FEWEST_LABELLED:
        return msgspec.structs.replace(
            finding,
            reason=f"Refused: {finding.n} labelled exchanges are too few; at least "
            f"{FEWEST_LABELLED} are needed to try.",
            more_needed=FEWEST_LABELLED - finding.n,
        )
    untold = int((~data.unbiased & (data.time == 0)).sum())
    if untold and int(data.unbiased.sum()) < FEWEST_LABELLED:
        return msgspec.structs.replace(
            finding,
            reason=f"Refused: {untold:,} exchanges come from a log without times, so that nothing "
            "says in which order they came. If its lines are in that order, say so with "
            "--in-order; if they are exchangeable, with --shuffle SEED.",
        )
    return None


def _in_order(
    data: TaskData, shuffle: int | None, judged: int
) -> tuple[TaskData, OrderEvidence | None]:
    """Return the exchanges in time order, and whether that order is believable.

    Shuffled rows were declared exchangeable: no order is looked for in them, but those up to
    ``judged`` come first, since they only train.
    """
    if shuffle is not None:
        rows = np.random.default_rng(shuffle).permutation(len(data))
        return data.in_order(rows[np.argsort(data.seq[rows] > judged, kind="stable")]), None
    times = data.time if (data.time > 0).all() else None
    if times is not None and (np.diff(times) < 0).any():
        data = data.in_order(np.argsort(times, kind="stable"))
    learned = data.to_train()
    return data, order_evidence(learned.answers, None if times is None else learned.time)


def _more_needed(
    subject: Subject, training: TaskData, trained: Trained, n: int, attempt: int
) -> int | None:
    """Estimate how many more exchanges it would take, None if too many.

    Follows the learning curve: a linear student trained on the latest half, against all.
    """
    growth = growth_needed(
        trained.plan,
        calibration=trained.evidence,
        epsilon=subject.settings.epsilon,
        # The next attempt will have less of delta to spend.
        delta=spent(subject.settings.delta, attempt + 1),
        exponent=_exponent(subject, training, trained),
        bounded=subject.bounded,
    )
    return None if growth is None else max(1, int(np.ceil(n * (growth - 1))))


def _fewest(subject: Subject, attempt: int) -> int:
    """Return the fewest calibration exchanges that may pass without a disagreement."""
    settings = subject.settings
    return math.ceil(math.log(spent(settings.delta, attempt)) / math.log1p(-settings.epsilon))


def _to_judge(subject: Subject, trained: Trained, calibration: int, attempt: int) -> int | None:
    """Estimate how many new exchanges it takes to judge an attempt, None if too many.

    Where earlier ones had a verdict all new ones judge, and hardly change what is learned.
    """
    evidence = max(trained.evidence, _fewest(subject, attempt))
    growth = growth_needed(
        trained.plan,
        calibration=evidence,
        epsilon=subject.settings.epsilon,
        delta=spent(subject.settings.delta, attempt),
        bounded=subject.bounded,
    )
    share = trained.evidence / calibration if trained.evidence else 1.0
    return None if growth is None else math.ceil(evidence * growth / share)


def _blamed(trained: Trained) -> str:
    """Return the answer that was wrong most often, with a space before it."""
    return f" {trained.blame}" if trained.blame else ""


def _exponent(subject: Subject, training: TaskData, trained: Trained) -> float:
    if not FORMS[subject.record.form].closed:
        return LEARNING_RATE
    wrong = 1 - trained.agreement
    half = _agreement_of(training, len(training) // 2, trained)
    if half is None or not 0 < wrong < 1 or half >= trained.agreement:
        return LEARNING_RATE
    return float(np.clip(np.log2((1 - half) / wrong), 0.05, 1.0))


def _agreement_of(training: TaskData, size: int, trained: Trained) -> float | None:
    """Return the out-of-fold agreement of a linear student trained on the latest exchanges."""
    rows: npt.NDArray[np.int64] = np.arange(max(0, len(training) - size), len(training))
    part = training.take(rows)
    try:
        fitted = train("linear", part.inputs, part.answers, variables=trained.variables)
    except ValueError:
        return None
    return float(fitted.agrees.mean())


def _learning_curve(subject: Subject, training: TaskData, trained: Trained) -> tuple[Point, ...]:
    if not FORMS[subject.record.form].closed or not {"linear", "encoder"} & set(subject.rungs):
        return ()
    points = []
    for part in (8, 4, 2, 1):
        size = len(training) // part
        agreement = _agreement_of(training, size, trained)
        if agreement is not None and size >= FEWEST_LABELLED // 2:
            points.append((float(size), agreement))
    return tuple(points)
