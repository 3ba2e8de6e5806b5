"""The report: `report.html`, and the summary that the terminal shows too.

    summary.py    the figures at a glance, and their table for a terminal
    page.py       the page; templates/ holds its parts, one a file
    views.py      what the pictures and the page's head show
    plots.py      the pictures; svg.py fits them to the page, placement.py places their names

Nothing here imports matplotlib or jinja2 before a page is written.
"""

from __future__ import annotations

from exporter.contents import LayerRow
from exporter.report.page import write_report
from exporter.report.summary import SummaryRow, summary_rows, summary_table

__all__ = ["LayerRow", "SummaryRow", "summary_rows", "summary_table", "write_report"]
