"""Spreadsheets as tables: an .xlsx is read, and written again with columns appended."""

from aimq.workbook.columns import check_columns
from aimq.workbook.reader import WorkbookReader
from aimq.workbook.sheet import Sheet
from aimq.workbook.writing import write_workbook
from aimq.workbook.zip_limits import unpacked_size

__all__ = ["Sheet", "WorkbookReader", "check_columns", "unpacked_size", "write_workbook"]
