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
_SAMPLE = 50


def doctor(
    topic: Annotated[
        str | None,
        typer.Option(help="Read some records of this topic instead, and propose the settings for it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check machine, settings, broker, topics and Triton, and say how to fix what is wrong.

    The exit status is 1 when a finding keeps the service from working.

    Example: BROKER=kafka:9092 padellm doctor

    Example: padellm doctor --topic crm.public.notes
    """
    from stream.doctor.finding import Grade

    proposed: dict[str, str] = {}
    if topic is None:
        findings = asyncio.run(_check_up())
    else:
        findings, proposed = asyncio.run(_look_at(topic))
    healthy = all(finding.grade is not Grade.FAIL for finding in findings)
    if as_json:
        answer = {"ok": healthy, "findings": [asdict(each) for each in findings]}
        typer.echo(json.dumps(answer if topic is None else answer | {"settings": proposed}))
    else:
        _print(findings)
        _print_settings(proposed)
    if not healthy:
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
    if settings.schema_registry_url is not None:
        from stream.doctor.registry import check_registry

        findings.append(await check_registry(settings))
    if settings.inference is Inference.TRITON:
        from stream.doctor.triton import check_triton

        findings.extend([finding async for finding in check_triton(settings)])
    if settings.inference is Inference.VLLM:
        from stream.doctor.vllm import check_vllm

        findings.extend([finding async for finding in check_vllm(settings)])
    return findings


async def _look_at(topic: str) -> tuple[list["Finding"], dict[str, str]]:
    """Findings about a topic's records, and the variables to set."""
    from stream.doctor.finding import fail
    from stream.doctor.topic import propose
    from stream.kafka.reader import newest_records
    from stream.registry.values import readable, registry_values

    settings = Settings(documents_topic=topic)
    records = await newest_records(topic, settings=settings, limit=_SAMPLE)
    if not records:
        return [fail(f"topic {topic}", "holds no records", "send some, and ask again")], {}
    values = registry_values(settings)
    if values is not None:
        try:
            records = [await readable(record, values) for record in records]
        finally:
            await values.close()
    proposal = propose(records, settings)
    return proposal.findings, proposal.settings


def _print_settings(proposed: dict[str, str]) -> None:
    if proposed:
        typer.echo("\nSettings for it; padellm try --topic shows what they find:\n")
        for variable, value in proposed.items():
            typer.echo(f"{variable}={value}")


def _print(findings: list["Finding"]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(each.subject) for each in findings)
    for each in findings:
        console.print(f"{_MARKS[each.grade]} {each.subject:<{width}}  {escape(each.found)}")
        if each.fix:
            console.print(f"     {'':<{width}}  → {escape(each.fix)}", style="bold")
