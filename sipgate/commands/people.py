"""``sipgate people``: personal accounts and their roles.

What takes two people (R12), a DPO's signature (R13) or a reviewer (R6) is worth as much as the accounts are: from the
first DPO on, accounts that can do such things are made by a DPO, who signs in, and the journal says who that was.
"""

from __future__ import annotations

from typing import Annotated

import typer

from sipgate.commands.context import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    new_password,
    out,
    person,
    print_json,
    sign_in,
    stores,
)
from sipgate.errors import AccessError
from sipgate.register.rows import Person, Role
from sipgate.service.stores import Stores

app = typer.Typer(no_args_is_help=True, help="Personal accounts: trainer, trainee, telephony_admin, dpo.")

_GIVEN_BY_THE_DPO = frozenset({Role.DPO, Role.TRAINER, Role.TELEPHONY_ADMIN})


@app.command()
def add(
    login: Annotated[str, typer.Argument(help="the name to sign in with")],
    name: Annotated[str, typer.Option(help="the person's name, shown on pages")],
    role: Annotated[list[Role], typer.Option(help="may be given more than once")],
    signer: Annotated[
        str | None,
        typer.Option("--as", help="who you are: once there is a DPO, only a DPO adds other roles than trainee"),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make an account. Its password is asked (or SIPGATE_NEW_PASSWORD): at least 12 characters."""
    with stores(config) as site:
        by = _signer(site, signer, frozenset(role))
        secret = new_password(signed_in=by is not None)
        signed = {"by": site.register.people.pseudonym(by.id)} if by is not None else {}

        def first(who: str) -> None:
            site.journal.append("person-added", site.now_ns(), person=who, roles=" ".join(sorted(role)), **signed)

        site.register.people.add(login, name, secret, frozenset(role), first=first)
        out.print(f"{login} can sign in as {', '.join(sorted(role))}")


@app.command()
def password(
    login: Annotated[str, typer.Argument(help="whose password")],
    signer: Annotated[
        str | None, typer.Option("--as", help="a DPO, for somebody who forgot theirs; left out: yourself")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Set a new password, asked (or SIPGATE_NEW_PASSWORD): your own, or as a DPO anybody's. It ends their sessions."""
    with stores(config) as site:
        owner, by = person(site, login), sign_in(site, signer or login)
        if by.id != owner.id and Role.DPO not in by.roles:
            raise AccessError("somebody else's password is set by a DPO, with --as LOGIN")
        who = {"person": site.register.people.pseudonym(owner.id), "by": site.register.people.pseudonym(by.id)}

        def first(_: int) -> None:
            site.journal.append("password-set", site.now_ns(), **who)

        site.register.people.change_password(owner.id, new_password(signed_in=True), first=first)
        out.print(f"{login} has a new password, and is signed out everywhere")


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


def _signer(site: Stores, login: str | None, roles: frozenset[Role]) -> Person | None:
    """Who adds an account with these roles; None: nobody has signed in, and nobody has to. Raises AccessError."""
    dpo_needed = bool(roles & _GIVEN_BY_THE_DPO) and any(Role.DPO in p.roles for p in site.register.people.all())
    if login is None:
        if dpo_needed:
            raise AccessError(
                f"there is a DPO: accounts with the role {', '.join(sorted(roles))} are added by a DPO, with --as LOGIN"
            )
        return None
    by = sign_in(site, login)
    if dpo_needed and Role.DPO not in by.roles:
        raise AccessError("an account with this role is added by a DPO, with --as LOGIN")
    return by
