"""A strict reader of the text format 0.0.4, written from its description: what it takes, Prometheus takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|[+-]Inf|NaN)")
Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    kind: str
    help: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def __getitem__(self, labels: dict[str, str]) -> float:
        """The sample of exactly these labels."""
        [value] = [v for (_, found), v in self.samples.items() if dict(found) == labels]
        return value

    def of(self, **labels: str) -> dict[str, float]:
        """Samples that have these labels, by the values of the others."""
        return {
            ",".join(v for k, v in found if k not in labels): value
            for (_, found), value in self.samples.items()
            if labels.items() <= dict(found).items()
        }


def unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), value)


def parse(text: str) -> dict[str, Family]:
    """The families; AssertionError where the text is not what the format wants."""
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    helped = name = ""
    for line in text[:-1].split("\n"):
        if match := re.fullmatch(rf"# HELP ({NAME}) ((?:[^\\]|\\\\|\\n)*)", line):
            helped, name = match[1], ""
            assert helped not in families, f"{helped} comes twice"
            text_of = match[2]
        elif match := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line):
            assert match[1] == helped, f"TYPE of {match[1]} after HELP of {helped}"
            name = match[1]
            families[name] = Family(match[2], text_of)
        else:
            match = SAMPLE.fullmatch(line)
            assert match, f"no sample: {line!r}"
            labels = tuple(sorted((k, unescaped(v)) for k, v in re.findall(LABEL, match[2] or "")))
            assert len({k for k, _ in labels}) == len(labels), line
            family = families[name]
            suffixes = {"_bucket", "_sum", "_count"} if family.kind == "histogram" else {""}
            assert match[1].removeprefix(name) in suffixes, f"{match[1]} stands in {name}"
            key = (match[1], labels)
            assert key not in family.samples, f"{line!r} comes twice"
            family.samples[key] = float(match[7])
    for name, family in families.items():
        check(name, family)
    return families


def check(name: str, family: Family) -> None:
    if family.kind == "counter":
        assert name.endswith("_total")
    if family.kind != "gauge":
        assert all(value >= 0 for value in family.samples.values())
    if family.kind == "histogram":
        for labels in {tuple(p for p in labels if p[0] != "le") for _, labels in family.samples}:
            bounds = [
                (float(dict(found)["le"]), value)
                for (sample, found), value in family.samples.items()
                if sample.endswith("_bucket") and set(labels) <= set(found)
            ]
            assert bounds == sorted(bounds), "bounds rise, and so do their counts"
            assert [v for _, v in bounds] == sorted(v for _, v in bounds)
            assert bounds[-1] == (float("inf"), family.samples[f"{name}_count", labels])
            assert (f"{name}_sum", labels) in family.samples
