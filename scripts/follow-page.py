#!/usr/bin/env python3
"""Does what docs/adding-a-service.md says, in the folder that it is started in: the comment before a block names what to do with it.

  new FILE                 the block is the file
  after FILE: TEXT [+N]    the block goes behind the line that has TEXT, and N lines more
  instead of FILE: TEXT    the block takes the place of that line
  run                      the block is commands, each of which has to succeed
"""
import pathlib
import re
import subprocess
import sys


def line_of(file, text):
    lines = pathlib.Path(file).read_text(encoding="utf-8").splitlines(keepends=True)
    found = [i for i, line in enumerate(lines) if text in line]
    if len(found) != 1:
        sys.exit(f"{len(found)} lines of {file} have {text!r}, want one")
    return lines, found[0]


def follow(order, block):
    if m := re.fullmatch(r"new (\S+)", order):
        pathlib.Path(m[1]).write_text(block, encoding="utf-8")
    elif m := re.fullmatch(r"after (\S+): (.*?)(?: \+(\d+))?", order):
        lines, at = line_of(m[1], m[2])
        lines.insert(at + 1 + int(m[3] or 0), block)
        pathlib.Path(m[1]).write_text("".join(lines), encoding="utf-8")
    elif m := re.fullmatch(r"instead of (\S+): (.*)", order):
        lines, at = line_of(m[1], m[2])
        lines[at] = block
        pathlib.Path(m[1]).write_text("".join(lines), encoding="utf-8")
    elif order == "run":
        for command in block.splitlines():
            command = command.split("  #")[0].strip()
            print("$", command, flush=True)
            subprocess.run(["bash", "-c", command], check=True)
    else:
        sys.exit(f"nobody knows how to {order!r}")
    print("done:", order, flush=True)


page = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
blocks = re.findall(r"^<!-- (.*?) -->\n```\w+\n(.*?)^```", page, flags=re.S | re.M)
if len(blocks) < 5:
    sys.exit(f"{sys.argv[1]} has {len(blocks)} blocks to follow")
for order, block in blocks:
    follow(order, block)
