"""The result of an evaluation in lines: a table of methods and measures, over all queries and by language.

Leaves out: the numbers themselves (xm.evaluation.compare).
"""

from collections.abc import Mapping


def result_lines(result: Mapping[str, Mapping]) -> list[str]:
    """Return what `evaluate_queries` found as lines: means, what the files do not agree on, and where runs are."""
    lines = [" " * 16 + "".join(f"{name:>11}" for name in result["measures"])]
    lines += _table(f"all, {result['queries']} queries", result["runs"])
    for code, group in result["languages"].items():
        lines += _table(f"{code}, {group['queries']} queries", group["runs"])
    for name, found in result["reported"].items():
        if found["count"]:
            lines.append(f"note: {found['count']} {name.replace('_', ' ')}, such as {found['first'][0]}")
    return lines + [f"run in {path}" for path in result["run_files"].values()]


def _table(title: str, runs: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a line for each method under a title, its measures in columns."""
    rows = [f"  {method:<14}" + "".join(f"{mean:>11.4f}" for mean in means.values()) for method, means in runs.items()]
    return [title, *rows]
