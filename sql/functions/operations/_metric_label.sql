create or replace function runledger._metric_label(name text, value text)
returns text
language sql immutable parallel safe
as $$
  select _metric_label.name || '="' || replace(replace(replace(
    _metric_label.value, E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n') || '"'
$$;

comment on function runledger._metric_label(text, text) is
  'A label as the text format wants it: backslash, quote and line feed escaped.';
