"""What the catalog promises to people and to clients: comments, volatility, names, shapes."""

from __future__ import annotations

import pytest

from tests.support.plpgsql import functions as function_files
from tests.support.plpgsql import option

VOLATILITY = {"i": "immutable", "s": "stable", "v": "volatile"}


@pytest.mark.parametrize(
    ("what", "query"),
    [
        ("schema", "select nspname::text from pg_namespace n where nspname = 'runledger'"
                   " and obj_description(n.oid, 'pg_namespace') is null"),
        ("function", "select oid::regprocedure::text from pg_proc p where pronamespace = 'runledger'::regnamespace"
                     " and obj_description(p.oid, 'pg_proc') is null"),
        # A partition of a time is as its parent; only named ones are read by people.
        ("relation", "select oid::regclass::text from pg_class c where relnamespace = 'runledger'::regnamespace"
                     " and relkind in ('r', 'p', 'v') and obj_description(c.oid, 'pg_class') is null"
                     " and not (relispartition and relname ~ '[0-9]')"),
        ("sequence", "select oid::regclass::text from pg_class c where relnamespace = 'runledger'::regnamespace"
                     " and relkind = 'S' and obj_description(c.oid, 'pg_class') is null and not exists ("
                     "select from pg_depend d where d.objid = c.oid and d.deptype in ('a', 'i'))"),
        ("column", "select attrelid::regclass || '.' || attname from pg_attribute a join pg_class c on c.oid = attrelid"
                   " where relnamespace = 'runledger'::regnamespace and relkind in ('r', 'p', 'v') and attnum > 0"
                   " and not attisdropped and not relispartition and not (relkind = 'v' and relname ~ '^_') and col_description(attrelid, attnum) is null"),
        ("type", "select t.oid::regtype::text from pg_type t left join pg_class c on c.oid = t.typrelid"
                 " where typnamespace = 'runledger'::regnamespace and typelem = 0 and coalesce(relkind, 'c') = 'c'"
                 " and obj_description(t.oid, 'pg_type') is null"),
        ("index", "select indexrelid::regclass::text from pg_index i join pg_class c on c.oid = indrelid"
                  " where relnamespace = 'runledger'::regnamespace and not relispartition"
                  " and obj_description(indexrelid, 'pg_class') is null"
                  " and not exists (select from pg_constraint k where k.conindid = i.indexrelid)"),
    ],
    ids=lambda value: value if " " not in value else "",
)  # fmt: skip
def test_everything_has_a_comment(db, what, query):
    assert db.column(query) == []


def test_constraints_read_as_sentences(db):
    """The name is what a violation shows: at least three words, saying what holds."""
    names = db.column("""
        select conname from pg_constraint k
        where connamespace = 'runledger'::regnamespace and contype in ('c', 'x') and conislocal and coninhcount = 0""")
    assert names
    assert [name for name in names if name.count("_") < 2 or name.endswith("_check")] == []


def test_rows_of_every_table_can_be_told_apart_by_whoever_replicates_them(db):
    """Else no row could be updated or deleted while a publication of all tables exists."""
    assert db.column("""
        select c.relname::text from pg_class c
        where c.relnamespace = 'runledger'::regnamespace and c.relkind in ('r', 'p') and c.relreplident <> 'f'
          and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)""") == []


def test_no_overloads(db):
    assert db.column(
        "select proname from pg_proc where pronamespace = 'runledger'::regnamespace group by 1 having count(*) > 1"
    ) == []


def test_installed_volatility_is_that_of_the_file(db):
    installed = dict(
        db.conn.execute(
            "select proname::text, provolatile::text from pg_proc where pronamespace = 'runledger'::regnamespace"
        ).fetchall()
    )
    assert {name: VOLATILITY[v] for name, v in installed.items()} == {
        f.name: option(f.node, "volatility").sval for f in function_files()
    }


def test_what_changes_nothing_is_not_volatile(db):
    """A function whose header says it writes nothing must run on a replica."""
    readers = {f.name for f in function_files() if f.public and "-- Writes: nothing" in f.text}
    assert "schema_info" in readers
    volatile = set(
        db.column("select proname from pg_proc where pronamespace = 'runledger'::regnamespace and provolatile = 'v'")
    )
    assert readers & volatile == set()


def test_public_results_are_named_composite_types(db):
    """A parameter and a column of `returns table` may not share a name: rows are types of their own, or one scalar."""
    wrong = db.column("""
        select p.oid::regprocedure::text || ' returns ' || pg_get_function_result(p.oid)
        from pg_proc p join pg_type t on t.oid = p.prorettype left join pg_class c on c.oid = t.typrelid
        where p.pronamespace = 'runledger'::regnamespace and p.proname !~ '^_'
          and not (t.typtype = 'c' and c.relkind = 'c' and t.typnamespace = 'runledger'::regnamespace)
          and (t.typtype = 'p' and t.typname <> 'void' or t.typname in ('json', 'jsonb') or t.typtype = 'c'
               or t.typelem <> 0 or t.typtype = 'e')""")
    assert wrong == []


def test_public_parameters_are_plain_types(db):
    wrong = db.column("""
        select p.oid::regprocedure::text from pg_proc p, unnest(p.proargtypes::oid[]) as a (type)
        join pg_type t on t.oid = a.type
        where p.pronamespace = 'runledger'::regnamespace and p.proname !~ '^_' and t.typnamespace <> 'pg_catalog'::regnamespace""")
    assert wrong == []


def test_optional_parameters_stand_last_and_are_named(db):
    unnamed = db.column("""
        select oid::regprocedure::text from pg_proc
        where pronamespace = 'runledger'::regnamespace and pronargs > 0
          and (proargnames is null or '' = any (proargnames))""")
    assert unnamed == []


def test_every_composite_result_type_is_used(db):
    """A shape that no function returns and none keeps is a leftover of a change."""
    unused = db.column("""
        select t.typname from pg_type t join pg_class c on c.oid = t.typrelid and c.relkind = 'c'
        where t.typnamespace = 'runledger'::regnamespace and t.typname !~ '^_'
          and not exists (select from pg_proc p where p.prorettype = t.oid)
          and not exists (select from pg_proc p where p.pronamespace = t.typnamespace
                          and p.prosrc ~ ('runledger\\.' || t.typname || '\\M'))""")
    assert unused == []


def test_timestamps_are_timestamptz_named_at(db):
    wrong = db.column("""
        select a.attrelid::regclass || '.' || a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relnamespace = 'runledger'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0
          and (a.atttypid = 'timestamp'::regtype
               or (a.atttypid = 'timestamptz'::regtype
                   and a.attname !~ '_(at|since|until|for)$' and a.attname !~ 'not_before$'))""")
    assert wrong == []


def test_heartbeats_stay_hot(db):
    """No index covers or filters by what a heartbeat changes."""
    touched = db.column("""
        select i.indexrelid::regclass::text from pg_index i
        join pg_attribute a on a.attrelid = i.indrelid and a.attname in
          ('lease_expires_at', 'last_heartbeat_at', 'updated_at', 'progress_done', 'progress_total', 'checkpoint')
        where i.indrelid = 'runledger.job_queue'::regclass
          and (a.attnum = any (i.indkey::int2[])
               or pg_get_indexdef(i.indexrelid) ~ ('\\m' || a.attname || '\\M'))""")
    assert touched == []


def test_nothing_of_ours_stands_in_public(db):
    assert db.column("""
        select relname::text from pg_class where relnamespace = 'public'::regnamespace
        union all select proname::text from pg_proc where pronamespace = 'public'::regnamespace""") == []
