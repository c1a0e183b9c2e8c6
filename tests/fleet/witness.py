"""What the database itself saw: a row for each change that two learners must not make at once.

Triggers write it in the transaction of the change, so nothing is seen that was not committed, and
nothing that was committed is missed. They note which machine wrote, and who had the task's lease.
"""

from collections.abc import Callable
from typing import NamedTuple

from postgres import sql

_TRIGGERS = """
CREATE SCHEMA witness;
CREATE TABLE witness.seen (
  number BIGSERIAL, written BIGINT DEFAULT pg_current_xact_id()::text::bigint,
  machine TEXT DEFAULT session_user, kind TEXT, name TEXT, before TEXT, after TEXT,
  token BIGINT, holder TEXT DEFAULT '');
CREATE FUNCTION witness.lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' OR OLD.holder <> NEW.holder OR OLD.token <> NEW.token THEN
    INSERT INTO witness.seen (kind, name, before, after, token)
      VALUES ('lease', NEW.name, CASE WHEN TG_OP = 'UPDATE' THEN OLD.holder ELSE '' END,
              NEW.holder, NEW.token);
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION witness.note(kind TEXT, task TEXT, before TEXT, after TEXT) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO witness.seen (kind, name, before, after, token, holder)
    SELECT kind, task, before, after, coalesce(max(l.token), 0), coalesce(max(l.holder), '')
    FROM public.leases AS l WHERE l.name = 'task ' || task
$$;
CREATE FUNCTION witness.attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.attempts <> NEW.attempts THEN
    PERFORM witness.note('attempt', NEW.id, OLD.attempts::text, NEW.attempts::text);
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION witness.student() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM witness.note('student', NEW.task_id, '', NEW.id);
  RETURN NULL;
END $$;
CREATE FUNCTION witness.promotion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM witness.note('promotion', NEW.task_id, NEW."by", coalesce(NEW.certificate_id, ''));
  RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON leases FOR EACH ROW
  EXECUTE FUNCTION witness.lease();
CREATE TRIGGER witness AFTER UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION witness.attempt();
CREATE TRIGGER witness AFTER INSERT ON students FOR EACH ROW EXECUTE FUNCTION witness.student();
CREATE TRIGGER witness AFTER INSERT ON promotions FOR EACH ROW
  EXECUTE FUNCTION witness.promotion()
"""


class Seen(NamedTuple):
    """A change that was committed.

    Attributes:
        written: The transaction.
        machine: Which wrote it.
        kind: ``lease``, ``attempt``, ``student`` or ``promotion``.
        name: Of the lease; else the task's id.
        before, after: The holder, or the number of attempts; of a student nothing and its id; of a
            promotion who decided it and the certificate, ``""`` for a demotion.
        token: Of the lease, or of the task's lease at that moment.
        holder: Of the task's lease at that moment, ``""`` if nobody had it.
    """

    written: int
    machine: str
    kind: str
    name: str
    before: str
    after: str
    token: int
    holder: str


def watch(url: str) -> None:
    """Have a database note what is changed in it from now on."""
    sql(url, _TRIGGERS)


def seen(url: str) -> list[Seen]:
    """Return what was changed, in order."""
    rows = sql(url, f"SELECT {', '.join(Seen._fields)} FROM witness.seen ORDER BY number")
    return [Seen(*row) for row in rows]


def no_two_did_the_same(changes: list[Seen], machine_of: Callable[[str], str]) -> None:
    """Assert that whoever changed a task had its lease, and that no step was taken twice.

    Args:
        changes: What was changed.
        machine_of: Returns the machine of a holder.
    """
    token, had = dict[str, int](), dict[str, str]()
    attempts, latest = dict[str, int](), dict[str, Seen]()
    by_audit = {one.written for one in changes if one.kind == "promotion" and one.before == "audit"}
    for one in changes:
        if one.kind == "lease":
            assert one.before == had.get(one.name, ""), one
            taken = one.after != ""
            assert not (taken and one.before), f"taken from one that had it: {one}"
            assert one.token == token.get(one.name, 0) + taken, one
            token[one.name], had[one.name] = one.token, one.after
        elif one.kind == "attempt":
            assert int(one.before) == attempts.get(one.name, 0), one
            attempts[one.name] = int(one.after)
            assert int(one.after) == int(one.before) + 1, one
        if one.kind == "promotion":
            before = latest.get(one.name)
            # A person may take off what is off already; turns and audits go by the row before.
            if one.before != "user" and before is not None:
                assert one.after != before.after, (before, one)
            latest[one.name] = one
        under_lease = one.kind == "student" or one.before == "turn"
        if under_lease or (one.kind == "attempt" and one.written not in by_audit):
            assert one.holder, one
            assert machine_of(one.holder) == one.machine, one
