"""The table that a run prints."""

from .table import Outcome, table


def test_the_table_has_medians_reasons_and_what_failed() -> None:
    """Each fault is a row; what did not hold and what to know stand under the table."""
    held = Outcome("blip", "nothing expires", times=[0.5, 0.1, 0.2], notes=["veth", "veth"])
    failed = Outcome("split", "all agree")
    failed.expect(False, "3 services came back")
    failed.expect(True, "never said")
    skipped = Outcome("loss", "all agree", skipped="it needs root")
    assert table([held, failed, skipped]).splitlines()[2:] == [
        "| blip | nothing expires | held | 3 | 0.20 | 0.10 to 0.50 |",
        "| split | all agree | **FAILED** |  |  |  |",
        "| loss | all agree | skipped: it needs root |  |  |  |",
        "",
        "- blip: veth",
        "- split: FAILED: 3 services came back",
    ]
    assert table([skipped]).splitlines()[-1].startswith("| loss")
