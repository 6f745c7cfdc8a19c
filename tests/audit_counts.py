"""How often the doctor is right: `python -m tests.audit_counts [PATH...]` plants every fault and counts.

Without a path: the bundled episodes, and `../shared/data/calvin_mini` where it is there. `--first N` takes N episodes
of each path, `--clean-only` plants nothing, `--only TEXT...` plants the faults whose names hold one of the texts,
`--json FILE` keeps the single results. What is counted: found as its kind; with the right fix, where a setting repairs
it; findings of another kind beside it; and any finding on the episodes as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

from tests.audit_faults import FAULTS, Fault, with_fault
from trainer.episodes.episode import Episode
from trainer.episodes.open import find_episodes, open_episode
from workbench.audit import audit

ROOT = Path(__file__).parents[1]
CALVIN = ROOT.parent / "shared" / "data" / "calvin_mini"


def judge(episode: Episode, fault: Fault) -> tuple[bool, bool, list[str]]:
    """Found as its kind, repaired as it must be, and what else was found."""
    found = audit(with_fault(episode, fault))
    hits = [finding for finding in found.faults if finding.kind == fault.kind]
    right = fault.repaired is None or any(f.setting is not None and fault.repaired(f.setting, episode) for f in hits)
    return bool(hits), bool(hits) and right, [f"{f.kind} {f.where}" for f in found.faults if f.kind != fault.kind]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--clean-only", action="store_true")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if any(text in fault.name for text in options.only)]
    paths = options.paths or [ROOT / "assets" / "episodes", *([CALVIN] if CALVIN.exists() else [])]
    names = [name for path in paths for name in find_episodes(path)[: options.first]]
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    results, alarms = [], 0
    for name in names:
        episode = open_episode(name)
        false = [f"{f.kind} {f.where}" for f in audit(episode).faults]
        alarms += bool(false)
        results.append({"episode": name, "fault": None, "findings": false})
        print(f"{name}: {', '.join(false) or 'clean'}", file=sys.stderr, flush=True)
        for fault in faults if not options.clean_only else ():
            if not fault.needs(episode):
                continue
            found, right, others = judge(episode, fault)
            row = counts[fault.kind]
            row[0], row[1], row[2], row[3] = row[0] + 1, row[1] + found, row[2] + right, row[3] + bool(others)
            results.append({"episode": name, "fault": fault.name, "found": found, "right": right, "others": others})
            said = "found" if right else "wrong fix" if found else "MISSED"
            print(f"  {fault.name}: {said} {' '.join(others)}", file=sys.stderr, flush=True)
    print("| kind | found / planted | with the right fix | another kind beside it |\n|---|---|---|---|")
    for kind, (planted, found, right, others) in counts.items():
        print(f"| {kind} | {found} / {planted} | {right} | {others} |")
    total = [sum(row[i] for row in counts.values()) for i in range(4)]
    print(f"| all | {total[1]} / {total[0]} | {total[2]} | {total[3]} |")
    print(f"\nFalse alarms on clean episodes: {alarms} / {len(names)}")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
