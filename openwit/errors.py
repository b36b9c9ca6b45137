"""One small tree of errors for users. Each message says what, where, found, expected, and what to write."""

from __future__ import annotations


class OpenwitError(Exception):
    """Something a user must read; `exit_code` is what the command returns."""

    exit_code = 1


class ConfigError(OpenwitError):
    """A recipe, field or command line that cannot be right."""

    exit_code = 2


class InputError(OpenwitError):
    """A file or address that is missing, unreadable or of another kind than expected."""

    exit_code = 2


class WorkError(OpenwitError):
    """Work that was tried and failed; what was finished stays, the same command goes on from there."""

    exit_code = 1
