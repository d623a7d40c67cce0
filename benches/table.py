"""benches/table.py PART BASE RESULTS: what the compare-* scripts print, of the lines `NAME SECONDS [KIB]` of RESULTS.

One row a name, in the order of its first line: median, least and most of its seconds, the ratio to the row BASE (`-`: no ratio) and its peak memory.
Where ROWS names a file the rows are added to it as well, one JSON object a line (benches/report reads it):
  {"part": PART, "what": NAME, "base": BASE or null, "seconds": [...], "mebibytes": most or null}
A line `NAME failed` says that it ran and failed; a row of nothing else has no seconds.
"""

import json
import os
import statistics
import sys


def read(part, base, lines):
    rows = {}
    for line in lines:
        name, seconds, *memory = line.split()
        row = rows.setdefault(name, {"part": part, "what": name, "base": base, "seconds": [], "mebibytes": None})
        if seconds == "failed":
            continue
        row["seconds"].append(float(seconds))
        if memory and int(memory[0]) > 0:
            row["mebibytes"] = max(row["mebibytes"] or 0, int(memory[0]) / 1024)
    return list(rows.values())


def median(row):
    return statistics.median(row["seconds"])


def ratio(row, rows):
    """How many times the base's median a row's is; None where there is nothing to compare with."""
    base = next((other for other in rows if other["part"] == row["part"] and other["what"] == row["base"]), None)
    if base is None or not base["seconds"] or not row["seconds"] or median(base) == 0:
        return None
    return median(row) / median(base)


def amount(seconds):
    """Seconds in the unit in which they are read best."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 0.995 or unit == "µs":
            break
    value = seconds * factor
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}" if value < 10 else f"{value:.1f} {unit}"


def mebibytes(row):
    if row["mebibytes"] is None:
        return ""
    return f"{row['mebibytes']:.0f} MiB" if row["mebibytes"] >= 1 else "< 1 MiB"


def line(row, rows):
    """A row as text for a terminal."""
    if not row["seconds"]:
        return f"{row['what']:24} failed"
    spread = f"({amount(min(row['seconds']))} to {amount(max(row['seconds']))})"
    times = ratio(row, rows)
    times = "" if times is None else f"{times:6.2f} x {row['base']}"
    return f"{row['what']:24} {amount(median(row)):>9} {spread:24} {times:20} {mebibytes(row):>9}".rstrip()


def main():
    part, base, results = sys.argv[1:4]
    with open(results) as lines:
        rows = read(part, None if base == "-" else base, lines)
    for row in rows:
        print(line(row, rows))
    if "ROWS" in os.environ:
        with open(os.environ["ROWS"], "a") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
