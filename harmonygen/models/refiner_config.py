"""Read the config.json of a released refinement UNet, entry by entry; what is not modelled is refused by name."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from harmonygen.errors import CheckpointError, listed
from harmonygen.models.refiner import INPUTS, PUBLISHED, RefinerSpec

_FIELDS = {
    "block_out_channels": "widths",
    "sample_size": "resolution",
    **{
        name: name
        for name in (
            *("layers_per_block", "norm_num_groups", "norm_eps", "act_fn", "attention_head_dim", "add_attention"),
            *("downsample_padding", "mid_block_scale_factor", "input_residual"),
        )
    },
}
"""Entries that a refiner's spec has, and what it calls them."""
_FIXED: dict[str, tuple[Any, ...]] = {
    "in_channels": (INPUTS["refiner"][0],),
    "out_channels": (3,),
    "down_block_types": (["DownBlock2D"],),
    "up_block_types": (["UpBlock2D"],),
    "mid_block_type": ("UNetMidBlock2D",),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "resnet_time_scale_shift": ("default",),
    "center_input_sample": (False,),
    "dropout": (0.0,),
    "attn_norm_num_groups": (None,),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
}
"""Entries that can have one value only; of block types, the kinds among them."""


def spec_of(config: dict[str, Any], name: str, training_data: str) -> RefinerSpec:
    """Return the refiner that a config describes; an entry that it lacks is that of the released base.

    Args:
        config: the content of config.json; empty: the released base.
        name: the file, for messages.
        training_data: what the checkpoint is to say about its origin.

    Raises:
        CheckpointError: entries or values that the network here does not have; all of them are named.
    """
    entries = {entry: value for entry, value in config.items() if not entry.startswith("_")}
    faults = [f"{entry} {value!r}" for entry, value in entries.items() if not _is_modelled(entry, value)]
    if faults:
        raise CheckpointError(
            f"{name} states what is not modelled here: {listed(faults)}: the pictures would be wrong; take weights "
            "whose config.json does without"
        )
    stated = {_FIELDS[entry]: _own_form(entry, value) for entry, value in entries.items() if entry in _FIELDS}
    try:
        return RefinerSpec.model_validate({**PUBLISHED, **stated, "training_data": training_data})
    except ValidationError as error:
        entry_of = {field: entry for entry, field in _FIELDS.items()}
        faults = [
            f"{entry_of[str(fault['loc'][0])]} {fault.get('input')!r}: {fault['msg']}" for fault in error.errors()
        ]
        raise CheckpointError(f"{name} states what is not modelled here: {'; '.join(faults)}") from error


def _is_modelled(entry: str, value: Any) -> bool:
    if entry in _FIELDS:
        return True
    return entry in _FIXED and (sorted(set(value)) if isinstance(value, list | tuple) else value) in _FIXED[entry]


def _own_form(entry: str, value: Any) -> Any:
    """Return an entry's value as a spec states it: no head size is one head, a square's sides are one number."""
    if entry == "attention_head_dim" and value is None:
        return 0
    if entry != "sample_size":
        return value
    sides = set(value) if isinstance(value, list | tuple) else {value}
    return RefinerSpec().resolution if sides == {None} else sides.pop() if len(sides) == 1 else value
