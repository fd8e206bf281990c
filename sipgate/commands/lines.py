"""``sipgate lines``: whose line is whose, which are never recorded, and why a number is (not) recorded (R12)."""

from __future__ import annotations

from typing import Annotated

import typer

from sipgate.commands.context import (
    DEFAULT_CONFIG,
    LARGEST,
    AsOption,
    ConfigOption,
    JsonOption,
    journalled,
    out,
    person,
    print_json,
    sign_in,
    stores,
    warn,
)
from sipgate.core.events import Party, Side
from sipgate.core.lines import Address, Identity, SelectorSet, identities_of, own_identities
from sipgate.core.policy import Connection, Permitted, Policy, Protected, Refused, Surroundings, decide
from sipgate.errors import ConfigurationError, LineSyntaxError
from sipgate.register.exclusions_file import FileLine
from sipgate.service.stores import Stores

app = typer.Typer(no_args_is_help=True, help="Lines: who holds them, which are never recorded, and why.")

Line = Annotated[str, typer.Argument(help="a number, range (2000-2999), pattern (21xx, +33142685*) or SIP address")]
Exclusion = Annotated[int, typer.Argument(min=1, max=LARGEST, help="the exclusion's number, from `sipgate lines list`")]
_SOMEBODY = frozenset[Identity]({Address("somebody@outside.invalid")})


@app.command()
def assign(
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="login of the person who holds the line")],
    identity: Annotated[
        list[str], typer.Argument(help="every identity of the line: extension, public number, address")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Give a line to one person: recordings of it are theirs."""
    with stores(config) as site:
        holder = person(site, login)
        first = journalled(site, "line-assigned", "line", holder)
        line = site.register.lines.assign(holder.id, identity, site.now_ns(), first=first)
        out.print(f"line {line.id} is {login}'s")


@app.command()
def holders(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Who holds which line."""
    with stores(config) as site:
        login = {person.id: person.login for person in site.register.people.all()}
        rows = [(line.id, login[line.person], line.identities) for line in site.register.lines.all()]
    if json:
        print_json({"lines": [{"line": line, "login": who, "identities": list(known)} for line, who, known in rows]})
        return
    for line, who, known in rows:
        out.print(f"line {line:7}  {who:16} {', '.join(known)}", markup=False)


@app.command()
def release(
    line: Annotated[int, typer.Argument(min=1, max=LARGEST, help="the line's number, from `sipgate lines holders`")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Take a line from its holder: it is not recorded any more, until it is somebody's again."""
    with stores(config) as site:
        site.register.lines.release(line, site.now_ns())
        out.print(f"line {line} is nobody's")  # protection does not wait for the journal
        site.journal.append("line-released", site.now_ns(), line=line)


@app.command()
def exclude(line: Line, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Never record this line. In force at once, on calls under way too."""
    with stores(config) as site:
        row = site.register.exclusions.exclude(line, None, site.now_ns())
        out.print(f"exclusion {row.id} is in force")  # protection does not wait for the journal
        site.journal.append("exclusion-added", site.now_ns(), exclusion=row.id)


@app.command()
def unexclude(exclusion: Exclusion, login: AsOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Ask that an exclusion be removed; a second person confirms."""
    with stores(config) as site:
        actor = sign_in(site, login)
        first = journalled(site, "exclusion-removal-requested", "exclusion", actor)
        site.register.exclusions.request_removal(exclusion, actor.id, site.now_ns(), first=first)
        out.print(f"a second person confirms with: sipgate lines confirm {exclusion}")


@app.command()
def confirm(exclusion: Exclusion, login: AsOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Confirm, as a second person, that an exclusion is removed."""
    with stores(config) as site:
        actor = sign_in(site, login)
        first = journalled(site, "exclusion-removed", "exclusion", actor)
        site.register.exclusions.confirm_removal(exclusion, actor.id, site.now_ns(), first=first)
        out.print(f"exclusion {exclusion} is removed")


@app.command()
def keep(exclusion: Exclusion, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Void a request to remove an exclusion: it stays."""
    with stores(config) as site:
        site.register.exclusions.cancel_removal(exclusion)
        out.print(f"exclusion {exclusion} stays")  # protection does not wait for the journal
        site.journal.append("exclusion-kept", site.now_ns(), exclusion=exclusion)


@app.command("list")
def list_lines(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """The lines that are never recorded: the file's and the console's."""
    with stores(config) as site:
        rows, broken = _file_lines(site)
        listed = site.register.exclusions.all()
    if json:
        print_json(
            {
                "file": [{"row": r.number, "text": r.text, "note": r.note, "warnings": list(r.warnings)} for r in rows],
                "list": [
                    {"id": e.id, "text": e.text, "removal_requested": bool(e.removal_requested_by)} for e in listed
                ],
                "error": broken,
            }
        )
    else:
        for row in rows:
            out.print(f"file row {row.number:3}  {row.text}  {row.note}", markup=False)
        for entry in listed:
            pending = "  (removal requested)" if entry.removal_requested_by else ""
            out.print(f"list {entry.id:7}  {entry.text}{pending}", markup=False)
        warn(tuple(warning for row in rows for warning in row.warnings))
    if broken is not None:
        raise ConfigurationError(broken)


@app.command()
def why(
    number: Annotated[str, typer.Argument(help="a number or SIP address of a line")],
    other: Annotated[
        str | None, typer.Argument(help="who it is on the telephone with; left out: somebody outside")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Would a call of this line be recorded now, and why (not)? Nothing is stored. Exit status 1: it would not."""
    with stores(config) as site:
        lines = _explain(site, number, other)
    recorded = all(would for would, _, _ in lines)
    if json:
        print_json({"recorded": recorded, "connections": {c: reason for _, c, reason in lines}})
    else:
        for _, connection, reason in lines:
            out.print(f"{connection}: {reason}", markup=False)
    raise typer.Exit(0 if recorded else 1)


def _file_lines(site: Stores) -> tuple[tuple[FileLine, ...], str | None]:
    try:
        return site.file_lines(), None
    except ConfigurationError as error:
        return (), str(error)


def _explain(site: Stores, number: str, other: str | None) -> list[tuple[bool, str, str]]:
    """For each connection: whether a call would be recorded, the connection's name, and why."""
    country = site.configuration.site.country
    line, peer = identities_of(number, country), identities_of(other, country) if other else _SOMEBODY
    if not line or not peer:
        raise LineSyntaxError("not a line: write a number (2001, +33 1 42 68 53 00) or a SIP address (sip:name@host)")
    rows, broken = _file_lines(site)
    policy = _policy(site, rows, broken)
    protected_by = _protected_by(site, rows, line | (peer if other else frozenset()))
    if protected_by:
        return [(False, "every connection", f"never recorded: {protected_by}")]
    parties = (Party(Side.CALLER, peer), Party(Side.CALLEE, line))
    reachable = Surroundings(
        frozenset(w.name for w in site.register.workstations.all() if w.enrolled), keyed=frozenset(Side)
    )
    found = []
    for name in tuple(policy.connections) or ("no connection is configured",):
        decision = decide(policy, name, parties, site.now_ns(), reachable)
        foreign = " (its host is none of site.domains)" if own_identities(line, policy.domains) != line else ""
        found.append((isinstance(decision, Permitted), name, _words(decision, broken) + foreign))
    return found


def _policy(site: Stores, rows: tuple[FileLine, ...], broken: str | None) -> Policy:
    connections = {c.name: Connection(c.name, c.telephone_key) for c in site.configuration.siprec.connection}
    return site.register.policy(
        now_ns=site.now_ns(),
        connections=connections,
        file_exclusions=tuple(selector for row in rows for selector in row.selectors),
        file_readable=broken is None,
        frames_per_second=site.configuration.film.frames_per_second,
        domains=frozenset(site.configuration.site.domains),
    )


def _protected_by(site: Stores, rows: tuple[FileLine, ...], identities: frozenset[Identity]) -> str | None:
    path = site.configuration.lines.exclusions_file
    for row in rows:
        if SelectorSet(row.selectors).might_match(identities):
            return f"row {row.number} of {path}"
    if SelectorSet(site.register.exclusions.selectors()).might_match(identities):
        return "the console's list (see `sipgate lines list`)"
    return None


def _words(decision: Permitted | Protected | Refused, broken: str | None) -> str:
    match decision:
        case Permitted(film=None):
            return "recorded: sound"
        case Permitted():
            return "recorded: sound, and film while the workstation is there"
        case Refused(reason):
            return f"not recorded: {reason.value}" + (f" ({broken})" if broken else "")
        case _:
            return "never recorded"
