"""`ppiscs doctor`: what is installed, and what is wrong with it."""

import typer
from rich.table import Table

from ppiscs_jax.cli.output import new_console


def doctor() -> None:
    """Check the installation: versions, devices, and the shipped weights by a small simulation.

    Exit code 1 if something is wrong.
    """
    from ppiscs_jax.doctor import diagnose  # the simulator and the surrogate are slow to import

    findings = diagnose()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        table.add_row(finding.subject, finding.text)
        if finding.problem:
            table.add_row("", f"problem: {finding.problem}")
    console = new_console()
    console.print(table)
    problems = sum(finding.problem is not None for finding in findings)
    if problems:
        console.print(f"{problems} problem{'s' if problems > 1 else ''} found")
        raise typer.Exit(1)
    console.print("no problems found")
