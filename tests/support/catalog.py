"""The catalog as text, to compare two databases; works on every server version and needs no pg_dump."""

from __future__ import annotations

import re
from typing import Any

import psycopg

_PARTS = {
    "schema": """
        select n.nspname::text, n.nspacl::text || coalesce(obj_description(n.oid, 'pg_namespace'), '-')
        from pg_namespace n where n.nspname = 'runledger'""",
    "function": """
        select p.oid::regprocedure::text, concat_ws(E'\\n', pg_get_functiondef(p.oid), p.proacl::text,
          obj_description(p.oid, 'pg_proc'))
        from pg_proc p where p.pronamespace = to_regnamespace('runledger')""",
    "relation": """
        select c.oid::regclass::text, concat_ws(E'\\n', c.relkind, c.reloptions::text, c.relacl::text,
          pg_get_expr(c.relpartbound, c.oid), obj_description(c.oid, 'pg_class'),
          case when c.relkind = 'v' then pg_get_viewdef(c.oid) end)
        from pg_class c where c.relnamespace = to_regnamespace('runledger')""",
    "column": """
        select a.attrelid::regclass::text || '.' || a.attname, concat_ws(E'\\n', a.attnum::text,
          format_type(a.atttypid, a.atttypmod), a.attnotnull::text, a.attidentity, a.attgenerated,
          pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum))
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where c.relnamespace = to_regnamespace('runledger') and a.attnum > 0""",
    "constraint": """
        select k.conrelid::regclass::text || '.' || k.conname, pg_get_constraintdef(k.oid)
        from pg_constraint k where k.connamespace = to_regnamespace('runledger')""",
    "index": """
        select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
        from pg_index i join pg_class c on c.oid = i.indexrelid where c.relnamespace = to_regnamespace('runledger')""",
    "type": """
        select t.oid::regtype::text, concat_ws(E'\\n', t.typtype, t.typacl::text, obj_description(t.oid, 'pg_type'),
          (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid))
        from pg_type t where t.typnamespace = to_regnamespace('runledger')""",
}


def snapshot(conn: psycopg.Connection[Any]) -> dict[tuple[str, str], str]:
    """Every object of the schema: (kind, name) to what the catalog says of it. Partitions of a day come and go."""
    return {
        (kind, name): text
        for kind, query in _PARTS.items()
        for name, text in conn.execute(query.encode()).fetchall()
        if not re.search(r"_\d{8}", name)
    }
