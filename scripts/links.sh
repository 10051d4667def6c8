#!/usr/bin/env bash
# Checks that every relative link and every anchor of the Markdown files leads somewhere.
# Links to other hosts are listed with --external, not fetched: the check works offline.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
exec python3 - "$@" <<'PY'
import pathlib, re, subprocess, sys, unicodedata

files = [pathlib.Path(p) for p in subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard", "*.md"], capture_output=True, text=True, check=True).stdout.split()]

def text_of(path):
    return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)

def anchors(path):
    found = set()
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", text_of(path), flags=re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add("".join(c for c in unicodedata.normalize("NFKC", heading).replace(" ", "-")
                          if c.isalnum() or c in "-_"))
    # And what a page names by itself.
    found.update(re.findall(r'<a (?:id|name)="([^"]+)"', path.read_text(encoding="utf-8")))
    return found

broken, external, checked = [], set(), 0
for path in files:
    for target in re.findall(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", re.sub(r"`[^`\n]*`", "", text_of(path))):
        if re.match(r"[a-z]+:", target):
            external.add(target)
            continue
        checked += 1
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path.resolve()
        if not there.exists():
            broken.append(f"{path}: {target}: no such file")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            broken.append(f"{path}: {target}: no such heading")
if "--external" in sys.argv:
    print("\n".join(sorted(external)))
print(f"{checked} links in {len(files)} files checked, {len(broken)} broken")
for line in broken:
    print(line, file=sys.stderr)
sys.exit(bool(broken))
PY
