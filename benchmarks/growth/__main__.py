"""How do time and memory grow with the size of the work? Each workload at several sizes, with fitted exponents.

    python -m benchmarks.growth --only "prompts" --output benchmarks/results/growth.json

It measures CPU seconds and peak memory, each size in its own process, and fits cost = c · size^k over all sizes. Prints
a table, then one JSON line. `--only` selects the workloads whose name contains a text.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.growth import (
    comparison_workloads,
    label_workloads,
    sampling_workloads,
    store_workloads,
    training_workloads,
)
from benchmarks.growth.measurement import fit_exponent, measure_workload
from benchmarks.growth.workload import ScalingWorkload

WORKLOADS: tuple[ScalingWorkload, ...] = (
    *training_workloads.WORKLOADS,
    *label_workloads.WORKLOADS,
    *sampling_workloads.WORKLOADS,
    *store_workloads.WORKLOADS,
    *comparison_workloads.WORKLOADS,
)


def main() -> None:
    arguments = parse_arguments()
    console = Console(stderr=True)
    results: list[dict[str, Any]] = []
    for workload in WORKLOADS:
        if arguments.only in workload.name:
            results.append(result := summarize(workload))
            console.print(f"{workload.name}: {result['measurements'][-1]}, time exponent {result['time_exponent']}")
    Console().print(tabulate(results))
    line = json.dumps({"results": results, "command": "python -m benchmarks.growth"}, ensure_ascii=False)
    print(line)
    if arguments.output:
        arguments.output.write_text(line + "\n", "utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of a workload's name")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def summarize(workload: ScalingWorkload) -> dict[str, Any]:
    """Measure a workload and fit the growth of its time and memory."""
    measurements = measure_workload(workload)
    sizes = [each.size for each in measurements]
    return {
        "workload": workload.name,
        "unit": workload.unit,
        "is_bounded": workload.is_bounded,
        "measurements": [asdict(each) for each in measurements],
        "time_exponent": fit_exponent(sizes, [each.cpu_seconds for each in measurements]),
        "memory_exponent": fit_exponent(sizes, [each.mebibytes for each in measurements]),
    }


def tabulate(results: list[dict[str, Any]]) -> Table:
    table = Table("workload", "sizes", "CPU seconds", "MiB", "time exponent", "memory exponent")
    for result in results:
        columns = [[each[key] for each in result["measurements"]] for key in ("size", "cpu_seconds", "mebibytes")]
        sizes, seconds, mebibytes = columns
        table.add_row(
            f"{result['workload']} ({result['unit']})",
            " ".join(f"{size:,}" for size in sizes),
            " ".join(f"{value:.2f}" for value in seconds),
            " ".join(f"{value:.0f}" for value in mebibytes),
            "bounded" if result["is_bounded"] else format_exponent(result["time_exponent"]),
            "bounded" if result["is_bounded"] else format_exponent(result["memory_exponent"]),
        )
    return table


def format_exponent(exponent: float | None) -> str:
    return "–" if exponent is None else f"{exponent:.2f}"


if __name__ == "__main__":
    main()
