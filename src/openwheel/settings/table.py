"""The settings. A field's `Meta` holds its limits and its help, so that nothing is said twice."""

from typing import Annotated, Literal

from msgspec import Meta

from openwheel.settings.models import CatalogSection, EngineSection, LmSection, PolicySection
from openwheel.settings.section import Section, Share


class StoreSection(Section, frozen=True):
    """Where traffic, tasks, keys and promotions are kept."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="The store: one file, with students beside it; or a Postgres database, "
            "postgresql://USER@HOST/DATABASE, that many machines share (extra `postgres`).",
        ),
    ] = "openwheel.db"
    objects: Annotated[
        str,
        Meta(
            pattern="^$|^(s3|gs|az|file)://.",
            description="With Postgres: where students' files above 1 MiB are kept, as "
            "`s3://BUCKET/PREFIX`, `gs://...`, `az://ACCOUNT/CONTAINER`, or `file:///FOLDER` that "
            "all machines share (extra `objects`). Without it they are in the database, each up to "
            "256 MiB.",
        ),
    ] = ""


class GatewaySection(Section, frozen=True):
    """How the gateway listens, and what it takes of a client."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    ] = 8000
    workers: Annotated[int, Meta(ge=1, le=256, description="Processes that answer requests.")] = 1
    learner: Annotated[
        bool,
        Meta(
            description="Whether a learner runs beside the gateway. Without one, nothing is "
            "audited unless `openwheel learner` runs on the same store, here or elsewhere."
        ),
    ] = True
    answer_kept: Annotated[
        bool,
        Meta(
            description="Whether students answer Responses requests that ask for the response to "
            "be kept (`store` is not false): it can then not be fetched or continued later."
        ),
    ] = False
    teacher_wait: Annotated[
        float,
        Meta(
            ge=0,
            le=600,
            description="Seconds that a request waits for a teacher that cannot be reached, as "
            "while it is restarted; 0: its client gets the error at once.",
        ),
    ] = 0.0
    best_effort: Annotated[
        bool,
        Meta(
            description="Whether, while no teacher can be reached, students answer below their "
            "threshold too. Nothing is certified about such answers; they are labelled."
        ),
    ] = False
    paths: Annotated[
        tuple[Annotated[str, Meta(pattern="^/v1/.")], ...],
        Meta(
            description="Paths that are forwarded besides those of the APIs, as patterns such as "
            "`/v1/ocr/*`. The teacher's key goes with what is forwarded."
        ),
    ] = ()
    max_body: Annotated[
        int, Meta(ge=1024, description="The most bytes of a request's body; more is 413.")
    ] = 32 << 20
    max_header: Annotated[
        int, Meta(ge=1024, description="The most bytes of a request's head; more is 431.")
    ] = 64 << 10
    max_connections: Annotated[
        int, Meta(ge=1, description="The most connections a worker holds; more are refused.")
    ] = 10_000
    request_timeout: Annotated[
        float,
        Meta(gt=0, description="Seconds a client may take to send a request; longer is 408."),
    ] = 60.0
    send_timeout: Annotated[
        float,
        Meta(gt=0, description="Seconds a client may leave an answer unread before it is cut off."),
    ] = 120.0
    # Longer than clients and load balancers keep idle connections, so that it is they who close.
    keep_alive: Annotated[
        float, Meta(gt=0, description="Seconds a connection may be idle between requests.")
    ] = 75.0
    stop_timeout: Annotated[
        float, Meta(ge=0, description="Seconds requests under way may take when stopping.")
    ] = 30.0
    drain: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds after SIGTERM in which requests are still taken, but /healthz "
            "answers 503 and a connection ends with its next answer, so that balancers turn "
            "elsewhere before the gateway stops.",
        ),
    ] = 0.0


class TeacherSection(Section, frozen=True):
    """A teacher: an endpoint that answers. One ``[[teachers]]`` table each."""

    url: Annotated[
        str,
        Meta(
            min_length=1,
            description="Its base URL as a client takes it, local:MODEL for a model "
            "run on this machine, or replay:LOG for recorded answers.",
        ),
    ]
    name: Annotated[str, Meta(description="Its name in logs and metrics; by default its host.")] = (
        ""
    )
    api: Annotated[Literal["openai", "anthropic"], Meta(description="Which API it speaks.")] = (
        "openai"
    )
    decisions_from: Annotated[
        Literal["", "chat"],
        Meta(
            description="How it is asked decisions: as they come, or as chat completions, for a "
            "server that has no API for them."
        ),
    ] = ""
    models: Annotated[
        tuple[str, ...],
        Meta(description="Models it is asked for (`*` is a wildcard); by default any."),
    ] = ()
    weight: Annotated[
        float, Meta(gt=0, description="Its share of the requests among teachers of one model.")
    ] = 1.0
    retries: Annotated[
        int,
        Meta(ge=0, le=10, description="Times to try it again; 0, since clients' SDKs retry."),
    ] = 0
    key_env: Annotated[str, Meta(description="Environment variable that holds its key.")] = ""
    connect_timeout: Annotated[float, Meta(gt=0, description="Seconds to get a connection.")] = 5.0
    read_timeout: Annotated[float, Meta(gt=0, description="Seconds without a byte from it.")] = (
        600.0
    )
    price_input: Annotated[
        float, Meta(ge=0, description="Dollars for a million tokens it reads.")
    ] = 0.0
    price_output: Annotated[
        float, Meta(ge=0, description="Dollars for a million tokens it writes.")
    ] = 0.0
    pace: Annotated[
        float, Meta(ge=0, description="With replay: wait this share of the recorded latency.")
    ] = 0.0
    checkpoint: Annotated[
        str,
        Meta(
            description="Hub id of the checkpoint it serves, where the names of its models do not "
            "say."
        ),
    ] = ""
    licence: Annotated[
        str,
        Meta(
            description="The licence of its answers (SPDX or LicenseRef), in place of its "
            "checkpoint's licence: a provider's terms, say."
        ),
    ] = ""
    terms: Annotated[
        str, Meta(description="Its terms in your words, for the lineage of what learns from it.")
    ] = ""
    training: Annotated[
        Literal["allowed", "forbidden"] | None,
        Meta(
            description="Whether its terms let its answers train students, where no licence says; "
            "forbidden holds whatever a licence says."
        ),
    ] = None
    jurisdiction: Annotated[
        str,
        Meta(
            description="Where it is and its operator is bound, as a country code (ISO 3166) or EU."
        ),
    ] = ""


class AccessSection(Section, frozen=True):
    """Who may use the gateway."""

    require_keys: Annotated[
        bool | None,
        Meta(description="Whether requests need a key; by default as soon as there is one."),
    ] = None


class CaptureSection(Section, frozen=True):
    """What of the traffic is kept, and how surely."""

    mode: Annotated[
        Literal["fast", "strict", "off"],
        Meta(
            description="fast commits within about 50 ms, off the request path; strict completes "
            "an answer after its commit; off keeps nothing."
        ),
    ] = "fast"
    strict_timeout: Annotated[
        float,
        Meta(
            gt=0, description="Seconds an answer waits for its commit before it completes anyway."
        ),
    ] = 2.0
    max_queued: Annotated[
        int, Meta(ge=1, description="The most exchanges waiting to be written, a worker.")
    ] = 20_000
    max_bytes: Annotated[
        int, Meta(ge=1 << 20, description="The most bytes waiting to be written, a worker.")
    ] = 256 << 20
    sample: Annotated[
        dict[str, Share],
        Meta(
            description="Share of exchanges to keep, by task name; `*` stands for all others. "
            "Audits are always kept."
        ),
    ] = {}
    keep_days: Annotated[
        float, Meta(ge=0, description="Days an exchange is kept; 0 keeps it for ever.")
    ] = 0.0
    max_store: Annotated[
        int,
        Meta(
            ge=0, description="Bytes the store may use; the oldest exchanges go first. 0: no limit."
        ),
    ] = 0


class LoopSection(Section, frozen=True):
    """How students are trained, judged and audited."""

    turns: Annotated[
        bool,
        Meta(
            description="Whether to learn as traffic grows. Promoted students are audited anyway."
        ),
    ] = True
    turn_every: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds after the last turn at which one is due if anything new came, "
            "besides those that new evidence and alarms make due; 0: those alone.",
        ),
    ] = 0.0
    most_tasks: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="The most tasks there may be: each costs a turn a few milliseconds, and "
            "clients can make any number of them. Further ones are left to the teacher.",
        ),
    ] = 1_000
    turn_nice: Annotated[
        int,
        Meta(ge=0, le=19, description="Niceness of turns: how far requests come before them."),
    ] = 10
    turn_threads: Annotated[
        int,
        Meta(
            ge=0,
            description="Threads that turns compute with; 0 for half of the cores. Language "
            "models have lm.threads.",
        ),
    ] = 0
    lease: Annotated[
        float,
        Meta(
            ge=1,
            le=3_600,
            description="Seconds after which others go on with the work of a learner that died, "
            "froze or was cut off, where learners share a Postgres store. What that learner writes "
            "afterwards is refused.",
        ),
    ] = 30.0
    turn_memory: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of the machine's memory, or of its container's, that each process "
            "of a turn may take; 0: no limit.",
        ),
    ] = 0.5
    executor: Annotated[
        Literal["local", "ray"],
        Meta(
            description="Where students are trained: in the learner's process, or as jobs on a "
            "Ray cluster (extra `ray`), several tasks at once."
        ),
    ] = "local"
    ray_address: Annotated[
        str,
        Meta(
            description="The cluster: HOST:PORT of its head if this machine is one of its nodes, "
            "ray://HOST:PORT if not. Empty: the environment's RAY_ADDRESS, else the cluster that "
            "runs on this machine."
        ),
    ] = ""
    jobs_at_once: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="The most jobs on the cluster at once; the learner holds the exchanges of "
            "as many tasks in memory.",
        ),
    ] = 8
    job_least: Annotated[
        int,
        Meta(
            ge=0,
            description="The fewest exchanges with labels for which a job is worth its start; with "
            "fewer the learner trains. Records, and rungs on an encoder or a language model, "
            "always go.",
        ),
    ] = 5_000
    job_cpus: Annotated[
        float,
        Meta(gt=0, description="Processors that a job reserves, and the threads it computes with."),
    ] = 1.0
    job_memory: Annotated[
        int, Meta(ge=0, description="Bytes of memory that a job reserves; 0 reserves none.")
    ] = 1 << 30
    job_gpus: Annotated[
        float,
        Meta(
            ge=0,
            description="GPUs, or the share of one, that a job reserves for a task with a rung "
            "that is built on an encoder or a language model.",
        ),
    ] = 0.0
    epsilon: Annotated[
        float,
        Meta(gt=0, lt=1, description="The most disagreement allowed among answered requests."),
    ] = 0.05
    delta: Annotated[
        float,
        Meta(gt=0, lt=1, description="The probability allowed for that promise to be wrong."),
    ] = 0.05
    floor: Annotated[
        float,
        Meta(
            ge=0,
            description="How many times epsilon an answer's own chance to disagree, as training "
            "shows it, may be, whatever the mean allows; more than one half it may never be. "
            "0: no floor.",
        ),
    ] = 6.0
    rungs: Annotated[
        tuple[str, ...],
        Meta(
            description="Rungs that may be tried, cheapest first. By default exact and linear, "
            "encoder if an encoder is given, and lm if [lm] has a base and no cheaper one is "
            "predicted to cover half of the requests."
        ),
    ] = ()
    encoder: Annotated[
        str, Meta(description="A sentence encoder: a hub id or a folder (extra `encoder`).")
    ] = ""
    tune_encoder: Annotated[
        Literal["auto", "always", "never"],
        Meta(
            description="Whether the encoder is trained on each task: auto where that pays on "
            "training exchanges it has not seen."
        ),
    ] = "auto"
    tune_time: Annotated[
        float,
        Meta(ge=0, description="Seconds that training an encoder may take; 0: no limit."),
    ] = 3600.0
    audit: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share of a promoted task's requests that the teacher answers too: more "
            "while a student is new or in doubt, less with good evidence.",
        ),
    ] = 0.05
    audit_least: Annotated[
        float,
        Meta(gt=0, le=1, description="The share that good evidence brings that down to."),
    ] = 0.02
    audit_dollars: Annotated[
        float,
        Meta(
            ge=0,
            description="Dollars a day that the audits of a task may cost, by the teachers' "
            "prices; 0: no limit. When they are spent, a tenth of the least share goes on.",
        ),
    ] = 0.0
    audit_run_length: Annotated[
        float,
        Meta(
            gt=1,
            description="Audited answers until the detector of changes may be expected to take "
            "off a student that is just within its limit.",
        ),
    ] = 1_000_000.0
    canary: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share of its task's requests that a student promoted by a turn may "
            "answer at first; it grows as the audits agree. 1: all at once.",
        ),
    ] = 0.2
    recertify_on: Annotated[
        tuple[Literal["model", "fingerprint", "disagreement"], ...],
        Meta(
            description="Changes of the teacher after which a student has to be certified again: "
            "another model name or endpoint, another system_fingerprint, a jump of its "
            "disagreement with itself. The others are only reported."
        ),
    ] = ("model", "fingerprint", "disagreement")
    answer: Annotated[
        tuple[str, ...],
        Meta(
            description="How answers may differ and still be one, for tasks compared by exact: of "
            "invisible, width, case, stop, quotes, emphasis, brackets, fence, prefix, "
            "set, explanation, reasoning and prefix:WORDS. Empty: not at all."
        ),
    ] = ()
    ask_twice: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of a promoted task's answers of the teacher for which it is asked "
            "once more what it answered before; 0: never.",
        ),
    ] = 0.01


class TaskSection(Section, frozen=True):
    """One task, by its name."""

    compare: Annotated[
        str,
        Meta(
            description="How a student's answer is compared with the teacher's: exact, rouge:F, "
            "embedding:COSINE or judge for text, order for tool calls, side:THRESHOLD, "
            "within:TOLERANCE or difference for decisions. Empty: exact, scores within:0.5, and "
            "text stays with the teacher."
        ),
    ] = ""
    answer: Annotated[
        tuple[str, ...] | None,
        Meta(description="In place of loop.answer."),
    ] = None
    loss: Annotated[
        Literal["record", "fields"],
        Meta(
            description="What a record, or a call of a tool, with wrong fields costs: record: all "
            "of it counts as wrong; fields: the share of its fields that is wrong."
        ),
    ] = "record"
    fields: Annotated[
        dict[str, tuple[str, ...]],
        Meta(
            description="How fields of records may differ and still be right, by their names with "
            "dots between: ignore; set for lists; a tolerance such as ~0.01 or ~1% for numbers; "
            "invisible, width, case, stop, quotes, emphasis or brackets for texts. `*` is for all "
            "others."
        ),
    ] = {}
    same_as: Annotated[
        str,
        Meta(
            description="A task that asks the same over another API, or in other words: its "
            "student is tried on this one first. For labels."
        ),
    ] = ""
    judge_model: Annotated[
        str, Meta(description="The model that judges; by default the one that answered.")
    ] = ""
    judge_budget: Annotated[
        int, Meta(ge=0, description="The most questions that a judge is asked for the task, ever.")
    ] = 5_000
    epsilon: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="In place of loop.epsilon, for students certified from then on."),
    ] = None
    floor: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="In place of loop.floor.")
    ] = None
    critical: Annotated[
        tuple[str, ...],
        Meta(
            description="Answers that a student must not miss: a request that may have one of them "
            "goes to the teacher, for tasks whose answers are labels."
        ),
    ] = ()
    keys_outside: Annotated[
        tuple[str, ...],
        Meta(
            description="Keys whose requests are left to the teacher, besides those that training "
            "shows not to fit the task. It holds from the next training on."
        ),
    ] = ()
    keys_inside: Annotated[
        tuple[str, ...],
        Meta(
            description="Keys whose requests are never left to the teacher for whose they are, as "
            "those of high trust are not. It holds from the next training on."
        ),
    ] = ()
    audit: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        Meta(description="In place of loop.audit."),
    ] = None
    audit_dollars: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="In place of loop.audit_dollars."),
    ] = None
    canary: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        Meta(description="In place of loop.canary."),
    ] = None
    best_effort: Annotated[bool | None, Meta(description="In place of gateway.best_effort.")] = None


class ConsoleSection(Section, frozen=True):
    """The pages at ``/console``."""

    enabled: Annotated[bool, Meta(description="Whether the gateway serves the console.")] = True
    hide_text: Annotated[
        bool,
        Meta(
            description="Whether texts of requests and answers are hidden until a person asks for "
            "them."
        ),
    ] = False


HappeningKind = Literal[
    "promoted",
    "demoted",
    "alarm",
    "teacher",
    "vetoed",
    "trouble",
    "failed",
    "stopped",
    "resumed",
]
"""What can happen to a task, or to all."""

AlertKind = HappeningKind | Literal["store", "budget"]
"""What an alert is about: what happened to a task, exchanges that are not stored, a budget."""


class AlertSection(Section, frozen=True):
    """A receiver of alerts. One ``[[alerts]]`` table each."""

    url: Annotated[
        str,
        Meta(pattern="^https?://.", description="The webhook that alerts are posted to."),
    ]
    format: Annotated[
        Literal["json", "slack", "teams"],
        Meta(description="The shape of what is posted: JSON for programs, or a chat's message."),
    ] = "json"
    kinds: Annotated[
        tuple[AlertKind, ...],
        Meta(description="What is posted."),
    ] = ("alarm", "demoted", "teacher", "vetoed", "failed", "stopped", "resumed", "store", "budget")
    secret_env: Annotated[
        str,
        Meta(description="Environment variable with the secret that signs what is posted."),
    ] = ""
    link: Annotated[
        str,
        Meta(description="The gateway's address as readers reach it, for links to the console."),
    ] = ""


class EdgeSection(Section, frozen=True):
    """The agent on a small machine (`openwheel edge`), and what its upstream gateway serves it."""

    upstream: Annotated[
        str, Meta(description="On an edge: the base URL of the gateway that it belongs to.")
    ] = ""
    key_env: Annotated[
        str,
        Meta(
            min_length=1,
            description="On an edge: the environment variable that holds its key of that gateway.",
        ),
    ] = "OPENWHEEL_EDGE_KEY"
    public_key: Annotated[
        str,
        Meta(description="On an edge: the file of the public key that its bundles are signed by."),
    ] = ""
    spool: Annotated[
        str,
        Meta(min_length=1, description="On an edge: the file that keeps exchanges until sent."),
    ] = "edge.db"
    spool_bytes: Annotated[
        int,
        Meta(
            ge=4 << 20,
            description="On an edge: the most bytes that this file takes, with those beside it. "
            "When it is full, the oldest answers of students go first, audits last.",
        ),
    ] = 256 << 20
    poll: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3600,
            description="On an edge: seconds between looks for promotions, demotions and bundles.",
        ),
    ] = 2.0
    link_timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="On an edge: seconds until the link counts as down, without a connection "
            "or an answer to such a look.",
        ),
    ] = 5.0
    unheard: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds that students go on without a word of the upstream; then they "
            "stop. On an edge its own setting or that of its bundle, whichever is less.",
        ),
    ] = 86_400.0
    queue: Annotated[
        bool,
        Meta(
            description="On an edge: whether requests that nobody can answer during an outage are "
            "sent later, also where their client does not ask for it."
        ),
    ] = False
    bundle: Annotated[
        str,
        Meta(description="On an upstream gateway: the bundle that it serves its edges."),
    ] = ""


class LogSection(Section, frozen=True):
    """What is logged, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least that is logged.")
    ] = "info"
    format: Annotated[
        Literal["text", "json"], Meta(description="Lines for people, or a JSON object a line.")
    ] = "text"


class TelemetrySection(Section, frozen=True):
    """OpenTelemetry spans (extra `otel`)."""

    endpoint: Annotated[
        str,
        Meta(description="OTLP over HTTP, e.g. http://localhost:4318; empty sends no spans."),
    ] = ""
    service_name: Annotated[str, Meta(min_length=1, description="As spans name it.")] = "openwheel"
    share: Annotated[
        float, Meta(ge=0, le=1, description="Share of requests without a trace that get one.")
    ] = 1.0


class Settings(Section, frozen=True):
    """All of ``openwheel.toml``."""

    store: StoreSection = StoreSection()
    gateway: GatewaySection = GatewaySection()
    teachers: tuple[TeacherSection, ...] = ()
    access: AccessSection = AccessSection()
    capture: CaptureSection = CaptureSection()
    loop: LoopSection = LoopSection()
    lm: LmSection = LmSection()
    engine: EngineSection = EngineSection()
    tasks: dict[str, TaskSection] = {}
    policy: PolicySection = PolicySection()
    catalog: CatalogSection = CatalogSection()
    console: ConsoleSection = ConsoleSection()
    alerts: tuple[AlertSection, ...] = ()
    edge: EdgeSection = EdgeSection()
    log: LogSection = LogSection()
    telemetry: TelemetrySection = TelemetrySection()
