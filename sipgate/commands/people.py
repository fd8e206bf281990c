"""``sipgate people``: personal accounts and their roles."""

from __future__ import annotations

from typing import Annotated

import typer

from sipgate.commands.context import DEFAULT_CONFIG, ConfigOption, JsonOption, out, password, print_json, stores
from sipgate.register.rows import Role

app = typer.Typer(no_args_is_help=True, help="Personal accounts: trainer, trainee, telephony_admin, dpo.")


@app.command()
def add(
    login: Annotated[str, typer.Argument(help="the name to sign in with")],
    name: Annotated[str, typer.Option(help="the person's name, shown on pages")],
    role: Annotated[list[Role], typer.Option(help="may be given more than once")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make an account. The password is asked (or SIPGATE_PASSWORD): at least 12 characters."""
    with stores(config) as site:
        person = site.register.people.add(login, name, password("new password", new=True), frozenset(role))
        who = site.register.people.pseudonym(person.id)
        site.journal.append("person-added", site.now_ns(), person=who, roles=" ".join(sorted(role)))
        out.print(f"{login} can sign in as {', '.join(sorted(role))}")


@app.command("list")
def list_people(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Who has an account."""
    with stores(config) as site:
        rows = [{"login": p.login, "name": p.name, "roles": sorted(p.roles)} for p in site.register.people.all()]
    if json:
        print_json({"people": rows})
        return
    for row in rows:
        out.print(f"{row['login']:16} {', '.join(row['roles']):24} {row['name']}", markup=False)
