"""`make bench`: the speed benchmarks one after the other, each printing its table, in their quick forms.

    python benchmarks                                    # minutes, on the sample: do they run
    python benchmarks --full --data photos.csv           # at the sizes of RESULTS.md; about an hour on two cores
    python benchmarks --only plain_procedure bare_model  # some of them

A ratio means something only where nothing else runs. Exit code 1 if a benchmark failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = "{data}"  # stands for --data
BARE = ["--data", DATA, "--models", "starter", "starter-fast", "--runtimes", "torch", "onnx", "openvino"]
RAY = ["--workers", "2", "--", "--allow-outside", "--data", DATA]
QUICK: dict[str, list[str]] = {
    "plain_procedure": ["--data", DATA, "--limit", "4", "--k", "4"],
    "bare_model": [*BARE, "--limit", "4", "--k", "4"],
    "share_of_peak": ["--data", DATA, "--limit", "2", "--k", "4"],
    "workers": ["--data", DATA, "--limit", "4", "--k", "4"],
    "ray_engine": [*RAY, "--limit", "4", "--k", "4", "--shard-size", "2"],
    "full_size": ["--widths", "0.1", "--sizes", "128", "--k", "4", "--train-batch", "2", "--train-steps", "2"],
    "limits": ["--measure", "--widths", "0.1", "--sizes", "128", "--k", "4"],
    "gpu_session": ["--widths", "0.1", "--sizes", "64", "--k", "3", "--compiler", "eager"],
    "augment_scale": ["--composites", "6000"],
    "imaterialist_scale": ["--rows", "3330"],
    "evaluate_speed": ["--limit", "200"],
    "train_step": ["--steps", "10", "--rounds", "1"],
    "report_scale": ["--candidates", "5000"],
    "inspect_scale": ["--rows", "2000"],
    "review_page": ["--pairs", "50", "--openings", "1"],
    "trainer_export": ["--rows", "100", "--side", "128"],
}
FULL: dict[str, list[str]] = {
    "plain_procedure": ["--data", DATA],
    "bare_model": [*BARE, "--limit", "20", "--rounds", "2"],
    "share_of_peak": ["--data", DATA, "--limit", "10"],
    "workers": ["--data", DATA],
    "ray_engine": [*RAY, "--limit", "40", "--k", "10", "--resolution", "256"],
    "full_size": ["--widths", "0.15", "--sizes", "128", "256", "--train-batch", "4", "--train-steps", "5"],
    "limits": [],
    "gpu_session": ["--widths", "0.1", "--sizes", "64", "--k", "3", "--compiler", "eager"],
    "augment_scale": [],
    "imaterialist_scale": ["--bare-every", "10"],
    "evaluate_speed": [],
    "train_step": [],
    "report_scale": [],
    "inspect_scale": [],
    "review_page": [],
    "trainer_export": [],
}


def main() -> int:
    """Run them; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--data", default="sample")
    parser.add_argument("--only", nargs="+", choices=list(QUICK), default=list(QUICK))
    options = parser.parse_args()
    failed = []
    for name in options.only:
        if name == "ray_engine" and importlib.util.find_spec("ray") is None:
            print("## ray_engine: left out, Ray is not installed (uv pip install 'harmonygen[ray]')\n", flush=True)
            continue
        arguments = [options.data if part == DATA else part for part in (FULL if options.full else QUICK)[name]]
        print(f"## python benchmarks/{name}.py {' '.join(arguments)}\n", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, str(HERE / f"{name}.py"), *arguments], env=environment(name))
        print(f"\n{time.monotonic() - began:.0f} s, exit code {done.returncode}\n", flush=True)
        failed += [name] if done.returncode else []
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


def environment(name: str) -> dict[str, str]:
    """Return this process's environment; two processes of evaluate have a thread each."""
    return {**os.environ, "OMP_NUM_THREADS": "1"} if name == "evaluate_speed" else dict(os.environ)


if __name__ == "__main__":
    sys.exit(main())
