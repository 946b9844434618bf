"""Spreadsheets as tables: an .xlsx is read, and written again with columns appended.

The services use `reader` (header and cells), `sheet` (the table), `columns` (does a header have a
schema's columns) and `writing`. Files come from clients, so they are parsed in a child process
(`parser`, `child`) with a memory and a time limit (`limits`).

In the child, `package` checks the zip and finds the sheet, `plain_copy` copies what the reader
needs, and `cells` reads it. `file_type` says what a file is that is no workbook.
"""
