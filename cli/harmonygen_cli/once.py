"""A command that says which of its options were typed more than once: only the last value counts."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer import Context


class OnceCommand(TyperCommand):
    """Names each repeated option, unless it is a flag or one that takes several values."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse as typer does, and say what will not be used."""
        if not ctx.resilient_parsing:  # a shell completes a line that is not whole
            _, _, typed = self.make_parser(ctx).parse_args(args=list(args))
            for option, times in Counter(typed).items():
                if times > 1 and _takes_one(option):
                    name = max(option.opts, key=len)
                    logging.getLogger("harmonygen").warning("%s is given %d times: only the last counts", name, times)
        return super().parse_args(ctx, args)


def _takes_one(option: Any) -> bool:
    return option.param_type_name == "option" and not option.multiple and not option.is_flag
