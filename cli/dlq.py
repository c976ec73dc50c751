"""``dlq``: look at what could not be counted, and send it again."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import click
import msgspec
import orjson

from cli.context import common_options, engine_of, run_async, settings_of
from cli.engine import DeadLetterRow, Engine
from schemas.events import SET_ASIDE

_PAGE = 500


@click.group("dlq")
def dlq() -> None:
    """Dead letters: updates that were refused or set aside, each with its reason."""


@dlq.command("list")
@click.option("--reason", help="Only letters with this reason.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="Newest letters shown at most."
)
@common_options
@run_async
async def list_letters(reason: str | None, limit: int, config: Path | None, data: Path | None) -> None:
    """List dead letters without their payload, oldest first, as NDJSON."""
    async with engine_of(settings_of(config, data)) as engine:
        letters = [letter for letter in await _all(engine) if reason in (None, letter.reason)]
    for letter in letters[-limit:]:
        shown = {name: value for name, value in msgspec.structs.asdict(letter).items() if name != "payload"}
        sys.stdout.write(orjson.dumps(shown).decode() + "\n")
    click.echo(f"{len(letters)} dead letters", err=True)


@dlq.command("show")
@click.argument("letter_id", type=int)
@common_options
@run_async
async def show(letter_id: int, config: Path | None, data: Path | None) -> None:
    """Show one dead letter whole."""
    async with engine_of(settings_of(config, data)) as engine:
        letters = await engine.dead_letters(letter_id - 1, 1)
    if not letters or letters[0].id != letter_id:
        raise click.ClickException(f"there is no dead letter {letter_id}; see `convometer dlq list`")
    fields = msgspec.structs.asdict(letters[0])
    with suppress(orjson.JSONDecodeError):  # what is not JSON is shown as the text it is
        fields["payload"] = orjson.loads(letters[0].payload)
    click.echo(orjson.dumps(fields, option=orjson.OPT_INDENT_2).decode())


@dlq.command("replay")
@click.argument("letter_ids", nargs=-1, type=int)
@click.option("--reason", help="Replay all letters with this reason.")
@common_options
@run_async
async def replay(
    letter_ids: tuple[int, ...], reason: str | None, config: Path | None, data: Path | None
) -> None:
    """Send dead letters through the parser again, by id or by reason. Doing so twice changes no number.

    What was set aside because it came too late stays so: its place in the state is gone.
    """
    if bool(letter_ids) == bool(reason):
        raise click.UsageError("name the letters, or give --reason")
    async with engine_of(settings_of(config, data)) as engine:
        letters = await _all(engine)
        ids = list(letter_ids) or [letter.id for letter in letters if letter.reason == reason]
        _check_replayable(ids, {letter.id: letter.reason for letter in letters})
        total = await engine.replay(ids)
        await engine.wait_flushed(await engine.positions())
    click.echo(
        f"{len(ids)} replayed: {total.accepted} accepted, {total.ignored} ignored, {total.refused} refused again",
        err=True,
    )
    for refusal in total.refusals:
        click.echo(f"  {refusal.replace('line', 'letter', 1)}", err=True)


@dlq.command("accept")
@click.option("--partition", type=click.IntRange(0), help="Only this partition (default: every stopped one).")
@click.option("--topic", default="", help="Only of this topic, such as events or webhooks.")
@common_options
@run_async
async def accept(partition: int | None, topic: str, config: Path | None, data: Path | None) -> None:
    """Let partitions go on that have stopped because too much was refused.

    Look first at what they refuse (`/readyz` and the log say why, `dlq list` shows what came before): what is accepted
    goes to the dead letter, from where `dlq replay` can bring it back.
    """
    async with engine_of(settings_of(config, data)) as engine:
        await engine.accept(topic, -1 if partition is None else partition)
    click.echo("accepted; stopped partitions go on within a second", err=True)


def _check_replayable(ids: list[int], reasons: dict[int, str]) -> None:
    """Refuse what is not there, and what would only be set aside once more."""
    missing = [letter for letter in ids if letter not in reasons]
    if missing:
        raise click.ClickException(f"there is no dead letter {missing[0]}; see `convometer dlq list`")
    late = [letter for letter in ids if reasons[letter] in SET_ASIDE]
    if late:
        raise click.ClickException(
            f"dead letter {late[0]} was set aside as {reasons[late[0]]}, like {len(late) - 1} others of these: the "
            "state that it belongs to has been forgotten, and a replay would set it aside again; nothing was replayed"
        )


async def _all(engine: Engine) -> list[DeadLetterRow]:
    letters: list[DeadLetterRow] = []
    while page := await engine.dead_letters(letters[-1].id if letters else -1, _PAGE):
        letters += page
    return letters
