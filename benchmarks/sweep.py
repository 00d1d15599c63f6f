"""Total time of a sweep, compared with the same number of separate runs.

    python -m benchmarks.sweep --data movie_reviews.train.jsonl --validation movie_reviews.validation.jsonl

Eight runs of `softprompt tune` (four seeds, two learning rates) train prefixes in all layers, each in a process of its
own that loads the model, reads the texts, trains, evaluates and saves. One `softprompt tune --sweep` trains the same
eight in the top half of the layers. Half of the runs come before the sweep and half after it, so that a slower machine
slows down both. Prints one JSON line; `whole_runs_8` is the sweep's time relative to the eight runs' time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SEEDS = (0, 1, 2, 3)


def main() -> None:
    arguments = parse_arguments()
    common = ["--data", arguments.data, "--validation", arguments.validation, "--model", arguments.model]
    common += ["--max-steps", str(arguments.steps), "--eval-steps", str(arguments.steps // 2 or 1), "--json"]
    cells = [(seed, rate) for seed in SEEDS for rate in arguments.rates]
    with tempfile.TemporaryDirectory() as folder:

        def time_separate_runs(runs: Sequence[tuple[int, float]]) -> float:
            return sum(
                time_tune([*common, "--seed", str(seed), "--learning-rate", str(rate)], Path(folder, f"{seed}-{rate}"))
                for seed, rate in runs
            )

        half = len(cells) // 2
        seconds = time_separate_runs(cells[:half])
        swept = f"seed={','.join(map(str, SEEDS))},lr={','.join(map(str, arguments.rates))}"
        together = time_tune([*common, "--layers", str(arguments.layers), "--sweep", swept], Path(folder, "sweep"))
        seconds += time_separate_runs(cells[half:])
    share = together / seconds
    found = {f"whole_runs_{len(cells)}": round(share, 3), "runs_seconds": seconds, "sweep_seconds": together}
    print(json.dumps({**found, "steps": arguments.steps, "layers": arguments.layers}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layers", type=int, default=15)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.005, 0.0025])
    return parser.parse_args()


def time_tune(options: Sequence[str], output: Path) -> float:
    """Return the seconds of a run, with its start."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "softprompt", "tune", *options, "--output", str(output)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    print(f"{output.name}: {seconds:.1f} s", file=sys.stderr)
    return seconds


if __name__ == "__main__":
    main()
