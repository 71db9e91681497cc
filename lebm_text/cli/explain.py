"""`lebm-text explain SIGNATURE`: explain the fields of a signature."""

from __future__ import annotations

import click

from lebm_text.reports.base import new_table
from lebm_text.reports.signatures import explain

from .console import show_table
from .options import json_option
from .parameters import Command
from .streams import print_json

__all__ = ["command"]


@click.command("explain", cls=Command)
@click.argument("signature")
@json_option
def command(signature: str, as_json: bool) -> None:
    """Explain the fields of SIGNATURE, which says how a figure was computed.

    Reports have signatures in their JSON, and print them with --verbose. Put the signature in quotes:
    'RPPL|lm:kn5|train:samples(n=1000,decode=sample,T=1)|test:ptb-test|eos:yes'
    """
    fields = explain(signature)
    if as_json:
        return print_json([field._asdict() for field in fields])
    table = new_table(None, "field", texts=("meaning",))
    for field in fields:
        table.add_row(f"{'  ' * field.inside}{field.text}", field.meaning or "unknown")
    return show_table(table)
