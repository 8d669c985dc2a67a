"""``padellm doctor``."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from stream.settings import Inference, Settings

if TYPE_CHECKING:
    from stream.doctor.finding import Finding

_MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check machine, settings, broker, topics and Triton, and say how to fix what is wrong.

    The exit status is 1 when a finding keeps the service from working.

    Example: BROKER=kafka:9092 padellm doctor
    """
    from stream.doctor.finding import Grade

    findings = asyncio.run(_check_up())
    grades = [finding.grade for finding in findings]
    if as_json:
        typer.echo(
            json.dumps({"ok": Grade.FAIL not in grades, "findings": [asdict(each) for each in findings]})
        )
    else:
        _print(findings)
    if Grade.FAIL in grades:
        raise typer.Exit(1)


async def _check_up() -> list["Finding"]:
    from stream.doctor.broker import check_broker
    from stream.doctor.finding import Grade
    from stream.doctor.machine import check_machine, check_settings

    findings = list(check_settings())
    if any(finding.grade is Grade.FAIL for finding in findings):
        return findings  # every other check depends on the settings
    settings = Settings()
    findings.extend(check_machine(settings))
    findings.extend([finding async for finding in check_broker(settings)])
    if settings.inference is Inference.TRITON:
        from stream.doctor.triton import check_triton

        findings.extend([finding async for finding in check_triton(settings)])
    return findings


def _print(findings: list["Finding"]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(each.subject) for each in findings)
    for each in findings:
        console.print(f"{_MARKS[each.grade]} {each.subject:<{width}}  {escape(each.found)}")
        if each.fix:
            console.print(f"     {'':<{width}}  → {escape(each.fix)}", style="bold")
