"""Deny by default: what the catalog says, and what a role that was granted nothing runs into."""

from __future__ import annotations

import psycopg
import pytest

from runledger.migrate import migrate


@pytest.fixture
def outsider(db, stranger):
    return db.connect(role=stranger)


def relations(db, kinds: str) -> list[str]:
    return db.column(
        "select oid::regclass::text from pg_class"
        " where relnamespace = 'runledger'::regnamespace and relkind = any (%s) order by 1",
        [list(kinds)],
    )


def functions(db) -> list[dict]:
    return db.all("""
        select p.oid, p.proname as name, p.oid::regprocedure::text as signature, p.prosecdef as definer,
               p.proconfig as config, p.provolatile as volatility, p.proparallel as parallel, p.pronargs as arguments,
               (select array_agg(format_type(t.type, null) order by t.n)
                  from unnest(p.proargtypes::oid[]) with ordinality as t (type, n)) as types
        from pg_proc p where p.pronamespace = 'runledger'::regnamespace order by 2""")


def test_public_functions_are_definer_with_a_pinned_path(db):
    wrong = [
        f["signature"] for f in functions(db)
        if not f["name"].startswith("_")
        and not (f["definer"] and "search_path=pg_catalog, pg_temp" in (f["config"] or []))
    ]  # fmt: skip
    assert wrong == []


def test_internals_are_invoker_without_settings(db):
    """A SET clause on an internal would cost each call, and definer would open a second door."""
    wrong = [f["signature"] for f in functions(db) if f["name"].startswith("_") and (f["definer"] or f["config"])]
    assert wrong == []


def test_nothing_is_granted_to_public(db):
    """Neither schema, relations, functions nor types; NULL would mean the built-in default, which for functions is PUBLIC."""
    granted = db.all("""
        select what, name from (
          select 'schema' as what, nspname::text as name, nspacl as acl, 'n'::"char" as kind, nspowner as owner
            from pg_namespace where nspname = 'runledger'
          union all
          select 'relation', oid::regclass::text, relacl, case relkind when 'S' then 's' else 'r' end::"char", relowner
            from pg_class where relnamespace = 'runledger'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S')
          union all
          select 'function', oid::regprocedure::text, proacl, 'f', proowner
            from pg_proc where pronamespace = 'runledger'::regnamespace
          union all
          select 'type', oid::regtype::text, typacl, 'T', typowner
            from pg_type where typnamespace = 'runledger'::regnamespace and typelem = 0
             -- a partition is made by maintenance, after the grants: its row type says nothing the parent's does not
             and not exists (select from pg_class c where c.oid = typrelid and c.relispartition)
        ) as o, lateral aclexplode(coalesce(o.acl, acldefault(o.kind, o.owner))) as a
        where a.grantee = 0""")
    assert granted == []


def test_a_stranger_cannot_even_look_into_the_schema(outsider):
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema runledger"):
        outsider.execute("select * from runledger.job_queue")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        outsider.execute("create table runledger.mine ()")


def test_a_stranger_with_usage_can_execute_nothing(db, stranger, outsider):
    """Each function, called with NULLs: the refusal comes before anything runs."""
    db.execute(f"grant usage on schema runledger to {stranger}")
    callable_ = []
    for f in functions(db):
        arguments = ", ".join(f"null::{t}" for t in f["types"] or [])
        try:
            outsider.execute(f"select {'runledger.' + f['name']}({arguments})")
        except psycopg.errors.InsufficientPrivilege:
            continue
        except psycopg.Error as error:
            callable_.append((f["signature"], str(error)))
        else:
            callable_.append((f["signature"], "returned"))
    assert callable_ == []
    assert db.value(
        "select count(*) from pg_proc where pronamespace = 'runledger'::regnamespace"
        " and has_function_privilege(%s, oid, 'execute')", [stranger],
    ) == 0  # fmt: skip


def test_a_stranger_with_usage_can_read_and_write_nothing(db, stranger, outsider):
    db.execute(f"grant usage on schema runledger to {stranger}")
    tables, views = relations(db, "rp"), relations(db, "v")
    assert len(tables) > 10
    assert views
    reads = [f"select 1 from {name}" for name in tables + views]
    writes = [f"{verb} {name} {rest}" for name in tables for verb, rest in
              (("insert into", "default values"), ("delete from", ""), ("truncate", ""))]  # fmt: skip
    for statement in reads + writes:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            outsider.execute(statement)
    for name in relations(db, "S"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            outsider.execute(f"select nextval('{name}')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            outsider.execute(f"select last_value from {name}")


def test_execute_alone_is_enough_for_a_verb(db, stranger, outsider):
    """A role with EXECUTE and no right on any table can do what the function does, and only that."""
    db.execute(f"grant usage on schema runledger to {stranger}")
    db.execute(
        f"grant execute on function runledger.define_job, runledger.enqueue_job, runledger.claim_jobs to {stranger}"
    )
    outsider.execute("select runledger.define_job('a')")
    outsider.execute("select runledger.enqueue_job('a')")
    assert outsider.execute("select count(*) from runledger.claim_jobs('w', array['a'])").fetchone() == (1,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        outsider.execute("update runledger.job_queue set priority = 1")


def test_a_callers_search_path_does_not_reach_a_definer_function(db, stranger, outsider):
    """Operators and functions in front of pg_catalog are the usual way into a definer function."""
    db.execute(f"grant usage on schema runledger to {stranger}")
    db.execute(f"grant execute on function runledger.define_job to {stranger}")
    db.execute(f"create schema trap authorization {stranger}")
    outsider.execute("create function trap.octet_length(text) returns int language plpgsql as"
                     " $$ begin raise exception 'trapped as %', current_user; end $$")  # fmt: skip
    outsider.execute("create function trap.coalesced(text, text) returns boolean language plpgsql as"
                     " $$ begin raise exception 'trapped as %', current_user; end $$")  # fmt: skip
    outsider.execute("create operator trap.= (function = trap.coalesced, leftarg = text, rightarg = text)")
    outsider.execute("set search_path = trap, pg_catalog")
    row = outsider.execute("select job_type from runledger.define_job('safe')").fetchone()
    assert row == ("safe",)


def test_an_apply_takes_back_what_was_granted_by_hand(db, new_role):
    """To PUBLIC on each kind of object, and to the owner on what not even the owner may change; and gives back what is due."""
    role, owner = new_role(), db.value("select nspowner::regrole::text from pg_namespace where nspname = 'runledger'")
    db.execute("select runledger.grant_access(%s, 'producer')", [role])
    db.execute(f"revoke execute on function runledger.enqueue_job from {role}")
    for what in (
        "usage on schema runledger", "select on runledger.job_queue", "select on runledger.jobs",
        "usage on sequence runledger.lease_token_seq", "execute on function runledger.claim_jobs",
        "execute on function runledger._now", "usage on type runledger.job_status", "usage on type runledger.claimed_job",
    ):  # fmt: skip
        db.execute(f"grant {what} to public")
    db.execute(f"grant update, delete, truncate on runledger.operator_actions to {owner}")
    # As if the functions there were of an older version.
    db.execute("update runledger._shelves set sha256 = repeat('0', 64)")
    assert migrate(db.dsn).shelf_applied
    test_nothing_is_granted_to_public(db)
    for right in ("update", "delete", "truncate"):
        assert not db.value("select has_table_privilege(%s, 'runledger.operator_actions', %s)", [owner, right])
    assert db.value(
        "select has_function_privilege(%s, oid, 'execute') from pg_proc where oid = 'runledger.enqueue_job'::regproc", [role]
    )
