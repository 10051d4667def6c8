#!/usr/bin/env python3
"""Executes the ```console blocks of Markdown files and compares the output.

In a block, a line that starts with "$ " is a command (a trailing backslash continues it); the lines after it are what it prints.
"..." within a line stands for any text, a line of "..." alone for any number of lines. A block after which nothing is said about
output (no lines) must only succeed. A command that is meant to fail is followed by a last line "[exit N]".
"""
import re
import subprocess
import sys


def blocks(path):
    for match in re.finditer(r"^```console\n(.*?)^```", open(path, encoding="utf-8").read(), flags=re.S | re.M):
        yield match.group(1)


def cases(block):
    command, expected = None, []
    lines = iter(block.splitlines())
    for line in lines:
        if line.startswith("$ "):
            if command is not None:
                yield command, expected
            command, expected = line[2:], []
            while command.endswith("\\"):
                command = command[:-1] + next(lines).strip()
        elif command is not None:
            expected.append(line)
    if command is not None:
        yield command, expected


def pattern(expected):
    out = ""
    for line in expected:
        if line.strip() == "...":
            out += r"(?:[^\n]*\n)*?"
        else:
            out += re.escape(line.rstrip()).replace(re.escape("..."), "[^\\n]*") + r"[ \t]*\n"
    return out


def main(paths):
    passed = failed = 0
    for path in paths:
        for block in blocks(path):
            for command, expected in cases(block):
                status = 0
                if expected and (m := re.fullmatch(r"\[exit (\d+)\]", expected[-1])):
                    status, expected = int(m.group(1)), expected[:-1]
                try:
                    run = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
                    code, printed = run.returncode, run.stdout + run.stderr
                except subprocess.TimeoutExpired:
                    code, printed = "time-out", ""
                printed = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", printed)
                if printed and not printed.endswith("\n"):
                    printed += "\n"
                if code == status and (not expected or re.fullmatch(pattern(expected), printed)):
                    passed += 1
                    print(f"ok      {path}: {command}")
                else:
                    failed += 1
                    print(f"FAILED  {path}: {command}\n  exit status {code}, want {status}\n  --- the page says\n" +
                          "\n".join("  " + line for line in expected) + "\n  --- it printed\n" + "\n".join("  " + line for line in printed.splitlines()[:60]))
    print(f"{passed} commands as documented, {failed} not")
    if passed + failed == 0:
        sys.exit("no command was found: that is no check")
    sys.exit(bool(failed))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    main(sys.argv[1:])
