"""Spreadsheets as tables: an .xlsx read whole, and written again with columns appended.

`bounds` refuses what would not fit into memory, `reading` and `writing` convert, `sheet` is the
table between them. Reader and writer were chosen by measurement (``benchmarks/workbook.py``).
"""

from batch_processor.workbook.reading import read_workbook
from batch_processor.workbook.sheet import Sheet
from batch_processor.workbook.writing import write_workbook

__all__ = ["Sheet", "read_workbook", "write_workbook"]
