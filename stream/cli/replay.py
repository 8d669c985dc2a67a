"""``padellm replay``."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.letter_options import (
    DocumentIds,
    Reasons,
    Since,
    Sources,
    Stages,
    Until,
    report_others,
    selection,
)
from stream.settings import Settings

if TYPE_CHECKING:
    from stream.kafka.letters import StoredLetter
    from stream.kafka.producer import Position
    from stream.kafka.replay import ReplayPlan


def replay(  # noqa: PLR0917 - options of a command line
    reason: Reasons = None,
    stage: Stages = None,
    document_id: DocumentIds = None,
    at: Sources = None,
    since: Since = None,
    until: Until = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send; without it nothing is sent.")] = False,
    most_replays: Annotated[
        int, typer.Option("--max-replays", min=1, help="Refuse a document that was sent again so many times.")
    ] = 3,
    force: Annotated[bool, typer.Option("--force", help="Send it beyond --max-replays too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send the documents of dead letters again, once their cause is mended. Without --yes: show which.

    A document goes to its own partition of the documents topic, with its key, value, headers and id. Its
    header padellm.replays counts how often that was done, padellm.replay-of names the position it had.
    A dead letter of which only a part was kept is refused.

    The command may be run again, also after it failed half way: a document that the documents topic holds
    again, by padellm.replay-of, is not sent a second time. Run one at a time; the documents topic is read
    from the time of the earliest dead letter that is chosen.

    Example: padellm replay --reason inference_timeout --since 2h

    Example: padellm replay --reason inference_timeout --since 2h --yes
    """
    from stream.kafka.letters import select_letters
    from stream.kafka.replay import plan_replay, replayed_positions, send_again

    settings = Settings()
    chosen = selection(reasons=reason, stages=stage, ids=document_id, at=at, since=since, until=until)
    letters, others = asyncio.run(select_letters(settings, chosen))
    report_others(others, settings.dead_letters_topic)
    plan = plan_replay(
        letters,
        asyncio.run(replayed_positions(settings, letters)),
        documents_topic=settings.documents_topic,
        most_replays=most_replays,
        force=force,
    )
    sent: dict[Position, Position] = {}

    def on_confirmed(letter: "StoredLetter", position: "Position") -> None:
        sent[letter.at] = position

    try:
        if yes and plan.send:
            asyncio.run(send_again(settings, plan.send, on_confirmed=on_confirmed))
    finally:  # also where the broker went away: what it confirmed until then
        show = _show_json if as_json else _show
        show(settings, plan, sent, dry_run=not yes)


def _show(settings: Settings, plan: "ReplayPlan", sent: "dict[Position, Position]", *, dry_run: bool) -> None:
    from stream.cli.highlight import printable

    topic = settings.documents_topic
    for letter in plan.send:
        at = sent.get(letter.at)
        end = "would be sent" if dry_run else f"sent to {topic}/{at[0]}/{at[1]}" if at else "not confirmed"
        failure = letter.failure
        typer.echo(
            printable(f"{failure.position}  {letter.document_id}  {failure.stage}, {failure.reason}: {end}")
        )
    for letter, why in plan.refused:
        typer.echo(printable(f"{letter.failure.position}  {letter.document_id}  refused: {why}"))
    done = f"{len(plan.done)} sent before, {len(plan.refused)} refused"
    if dry_run:
        typer.echo(
            f"{len(plan.send)} documents would be sent to {topic}, {done}; nothing was sent: add --yes"
        )
    else:
        typer.echo(f"{len(sent)} of {len(plan.send)} documents sent to {topic} at {settings.broker}, {done}")


def _show_json(
    settings: Settings, plan: "ReplayPlan", sent: "dict[Position, Position]", *, dry_run: bool
) -> None:
    from stream.kafka.letters import letter_json

    typer.echo(
        json.dumps(
            {
                "topic": settings.documents_topic,
                "broker": settings.broker,
                "dry_run": dry_run,
                "sent": len(sent),
                "to_send": [letter_json(each) | {"sent_to": sent.get(each.at)} for each in plan.send],
                "sent_before": len(plan.done),
                "refused": [letter_json(letter) | {"why": why} for letter, why in plan.refused],
            }
        )
    )
