"""Mistakes on the command line, with the nearest thing that exists."""

from __future__ import annotations

import re
from typing import Any

from selfroute.errors import ConfigError, UnknownNameError


def usage_error(error: Exception) -> ConfigError | None:
    """What typer says of a command line that it cannot use, in our words; None for any other error."""
    describe = getattr(error, "format_message", None)
    if not callable(describe):
        return None
    context: Any = getattr(error, "ctx", None)
    message = str(describe()).strip()
    if context is not None:
        option = getattr(error, "option_name", "")
        if option and "no such option" in message.lower():
            return UnknownNameError("option", option, _options(context.command))
        command = re.match(r"no such command ['\"](.*?)['\"]", message, re.IGNORECASE)
        if command:
            return UnknownNameError("command", command[1], context.command.commands)
    path = context.command_path if context is not None else "selfroute"
    return ConfigError(message[:1].lower() + message[1:].rstrip("."), f"{path} --help")


def _options(command: Any) -> list[str]:
    """The long options of a command."""
    return [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
