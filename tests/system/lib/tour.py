"""The commands of README's tour, as they stand there.

A command is a line of an indented block below one of the tour's headings, without the comment behind it;
where it is typed is said by the words before the block: "on both machines", "on the laptop", "on the Pi".
Commands in the text, between backquotes, are found too.
"""
import collections
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
FIRST, LAST = "## Five minutes with a laptop and a Pi", "## What it protects, and what not"
PROGRAMS = ("handfast", "sudo", "make", "journalctl", "ping", "apt", "systemctl")

# where: "both", "laptop", "pi" or "" (the words before do not say); words: those since the last block
Command = collections.namedtuple("Command", "text comment where section words")


def _where(words):
    """The last place that the words before a block name."""
    found = re.findall(r"\bboth\s+machines\b|\bon\s+both\b|\bon\s+the\s+laptop\b|\bon\s+the\s+Pi\b", words, re.I)
    if not found:
        return ""
    last = found[-1].lower()
    return "both" if "both" in last else "pi" if last.endswith("pi") else "laptop"


def text():
    with open(os.path.join(ROOT, "README.md")) as f:
        readme = f.read()
    if FIRST not in readme or LAST not in readme:
        raise RuntimeError(f"README.md has no {FIRST!r} before {LAST!r}")
    return readme[readme.index(FIRST):readme.index(LAST)]


def commands():
    """Those in blocks, in order."""
    section, words, in_block, out = "", "", False, []
    for line in text().splitlines():
        if line.startswith("    "):
            command, _, comment = line.strip().partition("  #")
            out.append(Command(command.strip(), comment.strip(), _where(words), section, words))
            in_block = True
        elif line.strip():
            if in_block or line.startswith("#"):
                words, in_block = "", False
            if line.startswith("#"):
                section = line.lstrip("# ")
            words += line + "\n"
    return out


def inline():
    """Those between backquotes in the text."""
    prose = "\n".join(line for line in text().splitlines() if not line.startswith("    "))
    return [c for c in (re.sub(r"\s+", " ", x) for x in re.findall(r"`([^`]+)`", prose)) if c.split()[0] in PROGRAMS]
