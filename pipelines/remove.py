"""openwit remove: shards without what somebody asked to be left out, for good."""

from __future__ import annotations

from datagen.takedown.remove import remove
from datagen.takedown.request import Request, read_list
from openwit import storage
from openwit.errors import ConfigError, InputError
from pipelines.session import Invocation, command_line, open_run


def command(invocation: Invocation) -> None:
    """Rewrites the shards that hold what is named, and logs it in removed/."""
    request = requested(invocation)
    with open_run(invocation, invocation.recipe.executor) as run:
        removal = remove(run, request, invocation.options["why"])
        if not invocation.dry_run:
            invocation.log.say(f"remove: {removal}; {len(request):,} entries are left out from now on")


def requested(invocation: Invocation) -> Request:
    """What the command line names. Raises ConfigError where that is nothing, InputError where a file is no list."""
    lists = {kind: invocation.options[f"{kind}s"] for kind in ("uid", "url", "domain")}
    named = {kind: read_list(storage.absolute(file), kind) if file else frozenset() for kind, file in lists.items()}
    if invocation.options["exclusions"]:
        named["uid"] |= _excluded(invocation)
    elif not any(lists.values()):
        raise ConfigError(
            "remove: what? give --uids FILE, --urls FILE or --domains FILE, one entry a line; --exclusions"
        )
    return Request(named["uid"], named["url"], named["domain"])


def _excluded(invocation: Invocation) -> frozenset[str]:
    url = storage.join(invocation.work, "duplicates", "exclusions.parquet")
    if not storage.exists(url):
        raise InputError(f"{url}: no such file; run {command_line(invocation, 'dedup-check')} first")
    return read_list(url, "uid")
