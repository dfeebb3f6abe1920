"""The answer to a command, printed."""

from collections.abc import Sequence

from tertulia.core.commands import Receipt
from tertulia.starter.cli.terminal import console, one_line, print_json


def show_receipt(receipt: Receipt, *, as_json: bool) -> None:
    """Print one receipt: a line, or a flat JSON object."""
    if as_json:
        print_json(receipt.model_dump(mode="json"))
        return
    console().print(f"{receipt.command}: {one_line(receipt.detail)}", soft_wrap=True)


def show_receipts(receipts: Sequence[Receipt], *, as_json: bool) -> None:
    """Print the receipts of one invocation: in JSON, one alone is an object, several are a list."""
    if as_json and len(receipts) != 1:
        print_json([receipt.model_dump(mode="json") for receipt in receipts])
        return
    for receipt in receipts:
        show_receipt(receipt, as_json=as_json)
