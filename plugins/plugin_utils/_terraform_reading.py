# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""What the inventory takes of a state, and all that is cached of it: the hosts, and which of them are dead.

Private to the collection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from ._terraform_command import Command
from ._terraform_contract import Contract, TerraformError, check_contract
from ._terraform_resources import Selector, resource_contract
from ._terraform_stale import dead_hosts
from ._terraform_state import State, pick_output


@dataclass(frozen=True)
class Request:
    """Which output is wanted or, with any, which resources in its place."""

    output: str
    selectors: tuple[Selector, ...] = ()


class Reading(TypedDict):
    """Plain JSON. `dead`: hosts whose resource is not live, with the reason. `where`: what messages call the state."""

    contract: Contract
    dead: dict[str, str]
    where: str


def reading_of(state: State, request: Request) -> Reading:
    """Take out of a state what was requested."""
    if request.selectors:
        return {"contract": resource_contract(state, request.selectors), "dead": {}, "where": state.where}
    contract = _checked(pick_output(state.outputs, request.output, state.where), request, state.where)
    return {"contract": contract, "dead": dead_hosts(contract, state), "where": state.where}


def read_outputs(command: Command, request: Request) -> Reading:
    """Ask for the outputs alone: nothing is known about resources then."""
    outputs, where = command.outputs()
    contract = _checked(pick_output(outputs, request.output, where), request, where)
    return {"contract": contract, "dead": {}, "where": where}


def _checked(value: object, request: Request, where: str) -> Contract:
    try:
        return check_contract(value)
    except TerraformError as error:
        raise TerraformError(f"The output {request.output!r} in {where}: {error}") from None
