"""What a role holds, whole: every privilege in the schema against the matrix, and the types and kinds that the guards see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

NewRole = Callable[..., str]
KINDS = ("producer", "worker", "operator", "observer")

HELD = """
    select g.rolname::text as role, x.place, x.type, x.name, x.privilege
      from (
        select n.nspname as place, 'schema' as type, n.nspname as name, a.grantee, a.privilege_type as privilege
          from pg_namespace n cross join lateral aclexplode(n.nspacl) a
        union all
        select p.pronamespace::regnamespace::text, 'function', p.proname, a.grantee, a.privilege_type from pg_proc p cross join lateral aclexplode(p.proacl) a
        union all
        select c.relnamespace::regnamespace::text, case c.relkind when 'S' then 'sequence' else 'table' end, c.relname, a.grantee, a.privilege_type
          from pg_class c cross join lateral aclexplode(c.relacl) a
        union all
        select c.relnamespace::regnamespace::text, 'column', c.relname || '.' || t.attname, a.grantee, a.privilege_type
          from pg_class c join pg_attribute t on t.attrelid = c.oid cross join lateral aclexplode(t.attacl) a
        union all
        select t.typnamespace::regnamespace::text, 'type', t.typname, a.grantee, a.privilege_type from pg_type t cross join lateral aclexplode(t.typacl) a
      ) x join pg_roles g on g.oid = x.grantee
     where x.place <> 'pg_catalog' and x.place <> 'information_schema'"""

# By hand, in the schema and beside it.
BY_HAND = """
    grant create on schema {s} to {r}; grant execute on function {s}.{f} to {r} with grant option; grant select, update on {s}.{t} to {r};
    grant select (id), insert (id) on {s}.{t} to {r}; grant usage, select on sequence {s}.{q} to {r}; grant usage on type {s}.{y} to {r}"""
OURS = {"s": "runledger", "f": "prune", "t": "job_logs", "q": "job_logs_id_seq", "y": "job_summary"}
OTHERS = {"s": "public", "f": "mine", "t": "their_logs", "q": "their_logs_id_seq", "y": "their_type"}


@pytest.fixture
def held(db: Db) -> Callable[[str], set[tuple[str, ...]]]:
    """The privileges of a role, or of all but it (`-name`)."""

    def ask(role: str) -> set[tuple[str, ...]]:
        rows = [tuple(r.values()) for r in db.all(HELD)]
        if role.startswith("-"):
            return {r for r in rows if r[0] != role[1:]}
        return {r[1:] for r in rows if r[0] == role}

    return ask


def test_a_role_holds_what_the_matrix_says_and_nothing_else(db: Db, q: Ledger, new_role: NewRole, held: Callable[[str], set[tuple[str, ...]]]):
    role, other = new_role(), new_role()
    q.row("grant_access", role_name=other, kind="worker")
    db.execute("create table public.their_logs (id bigserial); create type public.their_type as (x int); create function public.mine() returns int language sql as 'select 1'")
    for names in (OURS, OTHERS):
        db.execute(BY_HAND.format(r=other, **names))
        db.execute(BY_HAND.format(r=role, **names))
    beside = {r for r in held(role) if r[0] == "public"}
    assert len(beside) == 9
    assert len(held(role)) == 18
    elsewhere = held(f"-{role}")
    matrix = db.all("select * from runledger._access_matrix()")

    def wanted(*kinds: str) -> set[tuple[str, ...]]:
        rights = {"view": ("table", "SELECT"), "function": ("function", "EXECUTE")}
        own = {("runledger", rights[m["object_type"]][0], m["name"], rights[m["object_type"]][1]) for m in matrix if set(kinds) & set(m["kinds"])}
        return own | ({("runledger", "schema", "runledger", "USAGE")} if kinds else set()) | beside

    for kinds in ((), *combinations(KINDS, 1), *combinations(KINDS, 2)):
        for kind in kinds:
            q.row("grant_access", role_name=role, kind=kind)
        if not kinds:
            q.rows("revoke_access", role_name=role)
        assert held(role) == wanted(*kinds), kinds
        for n in range(len(kinds)):
            q.rows("revoke_access", role_name=role, kind=kinds[n])
            assert held(role) == wanted(*kinds[n + 1 :]), kinds
        assert held(f"-{role}") == elsewhere
        db.execute(BY_HAND.format(r=role, **OURS))


def test_grants_and_their_record_are_written_whole(db: Db, q: Ledger, new_role: NewRole, clock: Clock):
    role, other, owner = new_role(), new_role(), q.conn.info.user
    clock.stop()
    for name in (role, other):
        q.row("grant_access", role_name=name, kind="observer")

    def rows() -> tuple[list[Any], list[Any]]:
        grants = db.all("select kind, job_types, granted_by, granted_at from runledger.access_grants where role_name = %s order by 1", [role])
        told = db.all("select action, object, reason, role_name, detail, occurred_at from runledger.operator_actions where object = %s order by id", [role])
        return [tuple(r.values()) for r in grants], [tuple(r.values()) for r in told]

    first = clock.now()
    grants, told = [("observer", None, owner, first)], [("grant_access", role, None, owner, {"kind": "observer", "job_types": None}, first)]
    for kind, types, done in (
        ("worker", ["b", "a", "b"], "GRANTED"), ("worker", ["a", "b"], "UNCHANGED"), ("worker", ["a"], "CHANGED"), ("worker", None, "CHANGED"), ("worker", None, "UNCHANGED"),
        ("producer", ["x" * 200, "é" * 100], "GRANTED"), ("operator", None, "GRANTED"), ("observer", None, "UNCHANGED"), ("worker", [str(n) for n in range(1000)], "CHANGED"),
    ):  # fmt: skip
        now = clock.advance(1)
        kept = sorted(set(types)) if types else None
        assert q.row("grant_access", role_name=role, kind=kind, job_types=types) == {"role_name": role, "kind": kind, "job_types": kept, "disposition": done}
        if done != "UNCHANGED":
            grants = sorted([g for g in grants if g[0] != kind] + [(kind, kept, owner, now)])
            told.append(("grant_access", role, None, owner, {"kind": kind, "job_types": kept}, now))
        assert rows() == (grants, told)
    for kind in ("worker", "worker", None, None):
        now = clock.advance(1)
        gone = [g for g in grants if kind in (None, g[0])]
        assert q.rows("revoke_access", role_name=role, kind=kind) == [{"role_name": role, "kind": g[0], "job_types": g[1], "disposition": "REVOKED"} for g in gone]
        grants = [g for g in grants if g not in gone]
        if gone:
            told.append(("revoke_access", role, None, owner, {"kinds": [g[0] for g in gone]}, now))
        assert rows() == (grants, told)
    assert db.column("select role_name from runledger.access_grants") == [other]
    assert q.rows("revoke_access", role_name="no such role") == []


@pytest.fixture
def seen(db: Db, q: Ledger) -> Iterator[Callable[..., Any]]:
    """What a guard says within a function of the owner, called by a role."""
    for name, result in (("_granted_types", "text[]"), ("_is_operator", "boolean"), ("_is_owner", "boolean"), ("_acts_as", "boolean"), ("_caller", "text")):
        takes = {"_granted_types": "kinds text[]", "_acts_as": "role_name text"}.get(name, "")
        gives = {"_granted_types": "kinds", "_acts_as": "runledger._caller(), role_name"}.get(name, "")
        q.conn.execute(f"create function runledger.ask{name}({takes}) returns {result} language sql security definer as 'select runledger.{name}({gives})'".encode())
        q.conn.execute(f"grant execute on function runledger.ask{name} to public".encode())
    q.conn.execute("grant usage on schema runledger to public")

    sessions: dict[str, Any] = {}

    def ask(role: str, guard: str, *given: Any) -> Any:
        conn = sessions.setdefault(role, sessions.get(role) or db.connect(login=role))
        row = conn.execute(f"select runledger.ask{guard}({', '.join(['%s'] * len(given))})".encode(), given).fetchone()
        assert row is not None
        return row[0]

    yield ask
    q.conn.execute("revoke usage on schema runledger from public")
    for name in ("_granted_types(text[])", "_is_operator()", "_is_owner()", "_acts_as(text)", "_caller()"):
        q.conn.execute(f"drop function runledger.ask{name}".encode())


def test_the_guards_see_what_a_role_was_granted_and_what_it_inherits(db: Db, q: Ledger, new_role: NewRole, seen: Callable[..., Any]):
    owner, admin = q.conn.info.user, db.conn.info.user
    group, operators = new_role("group"), new_role("operators")
    lone, member, both, boss, nobody, deputy = (new_role() for _ in range(6))
    member, both, boss = new_role(member_of=group), new_role(member_of=group), new_role(member_of=operators)
    deputy = new_role(member_of=owner)
    distant = new_role(member_of=group, options="login noinherit")
    roles = (owner, admin, lone, member, both, boss, nobody, deputy)
    # Nobody is held to types yet.
    q.row("grant_access", role_name=operators, kind="operator")
    for role in roles:
        assert seen(role, "_granted_types", ["worker"]) is None, role
    q.row("grant_access", role_name=lone, kind="worker", job_types=["a"])
    q.row("grant_access", role_name=group, kind="producer", job_types=["b", "c"])
    q.row("grant_access", role_name=both, kind="producer", job_types=["a", "b"])
    q.row("grant_access", role_name=both, kind="worker", job_types=["d"])
    q.row("grant_access", role_name=both, kind="observer")
    asked = {"worker": ["worker"], "producer": ["producer"], "either": ["worker", "producer"], "operator": ["operator"], "work or operate": ["worker", "operator"], "observe": ["producer", "observer"]}
    none, any_type = set[str](), None
    want: dict[str, dict[str, set[str] | None]] = {
        lone: {"worker": {"a"}, "producer": none, "either": {"a"}, "operator": any_type, "work or operate": {"a"}, "observe": none},
        member: {"worker": none, "producer": {"b", "c"}, "either": {"b", "c"}, "operator": any_type, "work or operate": none, "observe": {"b", "c"}},
        both: {"worker": {"d"}, "producer": {"a", "b", "c"}, "either": {"a", "b", "c", "d"}, "operator": any_type, "work or operate": {"d"}, "observe": any_type},
        boss: {"worker": none, "producer": none, "either": none, "operator": any_type, "work or operate": any_type, "observe": none},
        nobody: {"worker": none, "producer": none, "either": none, "operator": any_type, "work or operate": none, "observe": none},
        **{role: dict.fromkeys(asked) for role in (owner, admin, deputy)},
    }  # fmt: skip
    # Who does not inherit has to take on the role first.
    want[distant] = want[nobody]
    for role, told in want.items():
        for name, kinds in asked.items():
            got = seen(role, "_granted_types", kinds)
            assert (got if got is None else set(got)) == told[name], (role, name)
            assert got is None or len(got) == len(set(got))
        assert seen(role, "_is_operator") is (role in (boss, admin)), role
        assert seen(role, "_is_owner") is (role in (owner, admin, deputy)), role
        assert seen(role, "_caller") == role
        for name in (owner, group, operators, lone, both, "no such role", None):
            acts = role in (owner, admin, deputy) or role == name or (name == group and role in (member, both)) or (name == operators and role == boss)
            assert seen(role, "_acts_as", name) is acts, (role, name)


def test_types_that_were_not_granted_are_named(db: Db, q: Ledger):
    ask = "select runledger._require_granted(%s::text[], %s::text[])"
    for asked, granted in ((["a"], None), (None, ["a"]), ([], []), (["a"], ["a", "b"]), (["b", "a", "a"], ["a", "b"]), (["a"], ["a"])):
        db.conn.execute(ask, [asked, granted])
    internal = q.on(db.conn)
    many = [f"{n:04}" for n in range(150)]
    for asked, granted, named in (
        (["a"], [], ["a"]), (["a", "b", "c", "b"], ["a"], ["b", "c"]), (["x" * 201], ["a"], ["x" * 200]), (many, ["0000"], many[1:101]), ([None, "a"], ["a"], [None]), (["a", "b"], [None, "a"], ["b"]),
    ):  # fmt: skip
        with internal.refused("access.job_type_not_granted", "RL005") as told:
            db.conn.execute(ask, [asked, granted])
        assert told.detail["job_types"] == named


def test_what_changed_is_told_by_its_fields(db: Db):
    ask = "select runledger._changed(%s::jsonb, %s::jsonb)"
    for old, new, want in (
        ("{}", "{}", {}), ('{"a": 1}', '{"a": 1}', {}), ('{"a": 1, "b": 2}', '{"a": 1, "b": 3}', {"b": 3}), ('{"a": 1}', '{"a": null}', {"a": None}), ("{}", '{"a": 1}', {"a": 1}),
        ('{"a": 1, "b": 2}', '{"a": 1}', {}), ('{"a": null}', '{"a": null}', {}), ("{}", '{"a": null}', {"a": None}),
    ):  # fmt: skip
        assert db.value(ask, [old, new]) == want, (old, new)


def test_operator_actions_are_found_by_each_of_their_fields(db: Db, q: Ledger, new_role: NewRole, clock: Clock):
    clock.stop()
    role = new_role()
    q.row("grant_access", role_name=role, kind="operator")
    own = q.on(db.connect(login=role))
    jobs = [q.enqueue() for _ in range(3)]
    for n, ledger in enumerate((q, own, q)):
        ledger.row("cancel_job", job_id=jobs[n], reason=f"r{n}")
        ledger.row("pause_job_type", job_type="t", reason="x")
        ledger.row("resume_job_type", job_type="t")
        clock.advance(1)
    every = db.all("select id, role_name, action, object, reason, detail, occurred_at from runledger.operator_actions order by id desc")
    assert q.rows("list_operator_actions") == every
    owner = q.conn.info.user
    for name, values in (
        ("role_name", [owner, role, "x"]), ("action", ["cancel_job", "pause_job_type", "grant_access", "x"]), ("object", [str(jobs[1]), "t", role, "x"]),
    ):  # fmt: skip
        for value in values:
            want = [r for r in every if r[name] == value]
            assert q.rows("list_operator_actions", **{name: value}) == want, value
            assert q.rows("list_operator_actions", **{name: value}, max_rows=1) == want[:1]
            assert q.rows("list_operator_actions", **{name: value}, role_name=owner) == [r for r in want if r["role_name"] == owner] if name != "role_name" else True
            for place in (every[0]["id"], every[4]["id"], every[4]["id"] + 1):
                assert q.rows("list_operator_actions", **{name: value}, before_action_id=place) == [r for r in want if r["id"] < place]
    assert q.rows("list_operator_actions", role_name=role, action="cancel_job", object=str(jobs[1])) == [r for r in every if r["object"] == str(jobs[1])]
