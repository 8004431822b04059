"""Reads Prometheus' text exposition format 0.0.4, strictly.

    groups = prometheus.parse(text)                       # {name: (type, help, [(labels, value)])}
    prometheus.value(groups, "handfast_up", daemon="pskd")
"""
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|\})')


class Malformed(Exception):
    pass


def unescape(text):
    return re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m.group(1), m.group(1)), text)


def read_series(line):
    """One value: (name, ((label, value), ...), number)."""
    m = NAME.match(line)
    if not m:
        raise Malformed(f"no name: {line!r}")
    name, rest, labels = m.group(), line[m.end():], []
    if rest.startswith("{"):
        rest = rest[1:]
        while True:
            m = LABEL.match(rest)
            if not m:
                raise Malformed(f"labels: {line!r}")
            labels.append((m.group(1), unescape(m.group(2))))
            rest = rest[m.end():]
            if m.group(3) == "}":
                break
    if not re.fullmatch(r" -?(\d+(\.\d+)?([eE][+-]?\d+)?|NaN|[+-]Inf)", rest):
        raise Malformed(f"value: {line!r}")
    if len({k for k, _ in labels}) != len(labels):
        raise Malformed(f"a label twice: {line!r}")
    return name, tuple(labels), float(rest)


def parse(text):
    """{name: (type, help, [(labels, value)])}, or Malformed: text exposition format 0.0.4, and no group twice."""
    groups, helps, now = {}, {}, None
    if not text.endswith("\n"):
        raise Malformed("no line end at the end")
    seen = set()
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, about = line[7:].split(" ", 1)
            if name in helps or not NAME.fullmatch(name) or re.search(r"\\[^\\n]", about.replace("\\\\", "")):
                raise Malformed(line)
            helps[name] = about
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            if name in groups or name not in helps or kind not in ("counter", "gauge"):
                raise Malformed(line)
            now = name
            groups[name] = (kind, helps[name], [])
        elif line.startswith("#") or not line:
            raise Malformed(line)
        else:
            name, labels, value = read_series(line)
            if name != now:
                raise Malformed(f"outside of its group: {line!r}")
            if (name, frozenset(labels)) in seen:
                raise Malformed(f"twice: {line!r}")
            seen.add((name, frozenset(labels)))
            groups[name][2].append((dict(labels), value))
    return groups


def value(groups, name, **labels):
    found = [v for have, v in groups.get(name, ("", "", []))[2] if have == labels]
    return found[0] if len(found) == 1 else None


def series(groups):
    """Each with its labels, without values."""
    return {(name, tuple(sorted(labels.items()))) for name, g in groups.items() for labels, _ in g[2]}
