"""Text cells of CSV files that people open in a spreadsheet: none is taken for a formula.

A cell that begins with ``=``, ``+``, ``-``, ``@`` (or their full-width forms), a tab or a carriage return would be run
as a formula by spreadsheets. An apostrophe is put before it: it is shown as text. Parquet files keep the name as it is.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_FORMULA = r"^[ ]*[=+\-@\t\r＝＋－＠]"


def plain_texts(table: pa.Table) -> pa.Table:
    """Return a table whose text cells are no formulas; numbers stay as they are.

    >>> plain_texts(pa.table({"name": ["=1+1", "a-b", None], "x": [-1, 0, 1]}))["name"].to_pylist()
    ["'=1+1", 'a-b', None]
    """
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            cells = table.column(index)
            quoted = pc.binary_join_element_wise(pa.scalar("'", field.type), cells, pa.scalar("", field.type))
            formula = pc.match_substring_regex(cells, _FORMULA)
            table = table.set_column(index, field, pc.if_else(formula, quoted, cells))
    return table
