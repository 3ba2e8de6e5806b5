"""What can be exported: ops."""

from __future__ import annotations

from exporter.commands.options import AsJson


def ops(json: AsJson = False) -> None:
    """List the operators that can be exported, and how both runtimes compute them in int8."""
    import dataclasses
    import json as json_module

    from rich.table import Table

    from exporter.operators import onnx_rows, torch_rows
    from exporter.terminal import console

    if json:
        document = {
            "onnx": [dataclasses.asdict(row) for row in onnx_rows()],
            "pytorch": [dataclasses.asdict(row) for row in torch_rows()],
        }
        print(json_module.dumps(document, indent=1))
        return
    for title, header, cells in (
        (
            "PyTorch, as torch.export captures it",
            ("operator", "role"),
            [(row.name, row.role) for row in torch_rows()],
        ),
        (
            "ONNX to TFLite",
            ("operator", "int8 form", "what is lowered"),
            [(row.kind, row.form, row.meaning) for row in onnx_rows()],
        ),
    ):
        table = Table(*header, box=None, title=title, title_justify="left")
        for row in cells:
            table.add_row(*row)
        console().print(table)
