"""How much of what the machine can compute `synthesize` uses: operations over time over the measured matrix peak.

    python benchmarks/share_of_peak.py --data photos.csv
    python benchmarks/share_of_peak.py --data photos.csv --size sd15 --resolution 512 --device cuda --dtype bfloat16

Operations are counted by torch (matrix products, convolutions, attention; two for a multiply-add) in the calls that
`synthesize` makes for each photo, part by part, and in its shards as a whole. The peak is the best of some large matrix
products of the same dtype and threads in the same run. What is left is memory traffic, small layers, and what is no
product: norms, activations, softmax.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from bare_model import read_options, settings_of, shard_seconds, warm_calls
from full_size import matrix_peak, synchronize
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def counter() -> FlopCounterMode:
    """Return a counter that knows attention on a CPU too."""

    def attention(query: tuple, key: tuple, value: tuple, *_: object, **__: object) -> int:
        return sdpa_flop_count(query, key, value)

    def backward(grad: tuple, query: tuple, key: tuple, value: tuple, *_: object, **__: object) -> int:
        return sdpa_backward_flop_count(grad, query, key, value)

    mapping = {_CPU_ATTENTION: attention, _CPU_ATTENTION_BACKWARD: backward}
    return FlopCounterMode(display=False, custom_mapping=mapping)


@contextmanager
def parts_timed(model: object, classifier: object, device: str) -> Iterator[dict[str, list[float]]]:
    """Collect seconds and operations of the model's calls by part; counting slows them, so each is made twice."""
    found: dict[str, list[float]] = {}
    usual = {}

    def watch(owner: object, name: str, label: str) -> None:
        call = getattr(owner, name)
        usual[owner, name] = call

        def watched(*inputs: object, **more: object) -> object:
            synchronize(device)
            began = time.perf_counter()
            result = call(*inputs, **more)
            synchronize(device)
            seconds = time.perf_counter() - began
            with counter() as counted:
                call(*inputs, **more)
            row = found.setdefault(label, [0.0, 0.0])
            row[0] += seconds
            row[1] += counted.get_total_flops()
            return result

        setattr(owner, name, watched)

    from harmonygen.models.window_decoder import WindowDecoder

    watch(model, "encode", "encode the photo")
    watch(model, "features", "its features")
    watch(model, "sample", "denoise")
    watch(WindowDecoder, "__call__", "decode around the foreground")
    watch(classifier, "p_composite", "score")
    try:
        yield found
    finally:
        for (owner, name), call in usual.items():
            setattr(owner, name, call)


def main() -> int:
    """Print the table."""
    options = read_options(__doc__)
    from harmonygen.synthesis.synthesize import synthesize

    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(options, Path(folder))
        context, calls = warm_calls(settings)
        peak = matrix_peak(options.device, getattr(torch, options.dtype))
        with parts_timed(context.generator.draw.model, context.scorer.model, options.device) as parts:
            calls()
        with counter() as counted:
            calls()
        synthesize(settings)
        shards = shard_seconds(settings.out)
    total = counted.get_total_flops()
    print(
        f"{options.limit} pairs, K = {options.k}, {options.resolution} px square, {options.size}, {options.dtype}, "
        f"{options.device}, {options.threads} threads; matrix peak {peak / 1e12:.3f} TFLOP/s\n"
    )
    print("| what | seconds | TFLOP | share of peak |\n|---|---:|---:|---:|")
    for label, (seconds, operations) in parts.items():
        print(f"| {label} | {seconds:.2f} | {operations / 1e12:.3f} | {operations / seconds / peak:.0%} |")
    print(f"| synthesize, its shards | {shards:.2f} | {total / 1e12:.3f} | {total / shards / peak:.0%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
