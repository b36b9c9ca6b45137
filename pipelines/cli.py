"""The command line: openwit COMMAND RECIPE [--work DIR] [--section.field VALUE …] [--dry-run]."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from openwit.errors import ConfigError, OpenwitError, did_you_mean

if TYPE_CHECKING:
    from pipelines.recipes import Recipe

COMMANDS = {  # name: (file in pipelines/commands/, what it does); its function is run_<name>
    "demo": ("demo", "the whole pipeline on the embedded example, from the dump to an evaluated model"),
    "demo-web": ("serve_web", "build the embedded web and serve it on loopback"),
    "queries": ("queries", "the query list, from a Wikipedia dump, page views and WordNet"),
    "build-dataset": ("dataset", "candidates, matching, the cap and the crawl, into WebDataset shards"),
    "adopt": ("dataset", "the manifest of shards/ that img2dataset wrote, so that the commands below run on them"),
    "train-detector": ("detector", "the duplicate detector, trained on the shards' images"),
    "calibrate": ("duplicates", "the thresholds of dedup-check, from images of the user's own shards"),
    "dedup-check": ("duplicates", "the overlap of the shards with the evaluation sets"),
    "dedup-within": ("duplicates", "copies inside the shards: one is kept, with the captions of the others"),
    "remove": ("dataset", "rewrite the shards without named pairs, URLs or domains (takedown)"),
    "train-tokenizer": ("tokenizer", "a vocabulary of one's own captions"),
    "pretrain": ("pretrain", "contrastive training on the shards"),
    "evaluate": ("evaluate", "zero-shot classification and linear probe of the last checkpoint"),
    "stats": ("dataset", "what was selected and crawled: a table, --json, and an HTML page"),
}
FILE_COMMANDS = {  # that take paths, not a recipe
    "convert": ("models", "a model from one format to another: openwit, openai, open_clip, huggingface, onnx"),
    "segment": ("models", "draw which part of an image a model sees as which of some labels"),
}
OPTIONS = {  # of some commands: (commands, value; none for a flag, what it does)
    "retry": (("build-dataset",), "REASONS", "fetch the rows again that failed for these, e.g. timeout,dns,5xx"),
    "uids": (("remove",), "FILE", "pairs, one uid a line or a parquet file's column"),
    "urls": (("remove",), "FILE", "images by their URL"),
    "domains": (("remove",), "FILE", "all images of these domains and what is below them"),
    "exclusions": (("remove",), "", "the pairs of duplicates/exclusions.parquet"),
    "why": (("remove",), "TEXT", "what the log of removals says of the reason"),
    "resume": (("pretrain", "train-detector"), "", "go on from the last checkpoint, and nowhere else"),
    "json": (("stats",), "", "the figures as JSON instead of a table"),
}
WORK_FORMAT = 2  # of a work folder's files; another number where this version cannot go on with them
LISTS = (
    """comma-separated: what holds a comma itself stands in quotes, '"one, two",three', or '["one, two", "three"]'"""
)
USAGE = "openwit COMMAND RECIPE [--work DIR] [--section.field VALUE …] [--dry-run] [--debug]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 failed work, 2 the user's mistake, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        _run([word for word in words if word != "--debug"])
    except OpenwitError as error:
        _fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on from here", 130, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(_os_message(error), 1, debug)
    except Exception as error:  # the last boundary: one line for the user, everything with --debug
        _fail(f"internal error, please report it: {type(error).__name__}: {error}; --debug shows where", 1, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    line = " ".join(message.split())
    print(f"openwit: error: {line}", file=sys.stderr)
    sys.exit(code)


def _os_message(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}no space left on the disk; free some and run the same command again"
    return f"{where}{error.strerror or error}"


def _run(words: list[str]) -> None:
    parser = argparse.ArgumentParser("openwit", usage=USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("--work")
    for name, (_, value, _) in OPTIONS.items():
        if value:
            parser.add_argument(f"--{name}", default="")
        else:
            parser.add_argument(f"--{name}", action="store_const", const="yes", default="")
    for flag in ("--dry-run", "--help", "-h", "--version"):
        parser.add_argument(flag, action="store_true")
    positional = [word for word in words[:2] if not word.startswith("-")]
    given, rest = parser.parse_known_args(words[len(positional) :])
    command, recipe_name = [*positional, "", ""][:2]
    if given.version:
        from importlib.metadata import version

        print("openwit", version("openwit"))
        return
    if not command:
        print(_help())
        if not (given.help or given.h) and words:
            raise ConfigError(f"no command before {words[0]}; usage: {USAGE}")
        return
    if command in FILE_COMMANDS:
        run_command(FILE_COMMANDS[command][0], command)(words[1:])
        return
    if command not in COMMANDS:
        known = [*COMMANDS, *FILE_COMMANDS]
        raise ConfigError(f"{command}: unknown command{did_you_mean(command, known)}; there are {', '.join(known)}")
    from openwit.config import override
    from pipelines import recipes

    recipe_name = recipe_name or ("demo" if command.startswith("demo") else "")
    if not recipe_name:
        if given.help or given.h:
            print("\n".join([*_command_help(command, "RECIPE"), *_recipe_help()]))
            return
        raise ConfigError(f"{command}: which recipe? one of {', '.join(recipes.RECIPES)}")
    for name, (owners, _, _) in OPTIONS.items():
        if getattr(given, name) and command not in owners:
            raise ConfigError(f"--{name}: belongs to {' and '.join(owners)}, not to {command}")
    work = given.work or recipes.default_work(recipe_name)
    recipe = recipes.create(recipe_name, work)
    if given.help or given.h:
        print(_field_help(command, recipe))
        return
    _start(command, override(recipe, _overrides(rest, recipe)), work, given)


def _start(command: str, recipe: Recipe, work: str, given: argparse.Namespace) -> None:
    from openwit import storage
    from openwit.log.events import Log
    from openwit.log.upload import log_file
    from openwit.storage.work_lock import holding
    from pipelines.session import Invocation, carry_out

    if recipe.s3_endpoint:
        os.environ[storage.S3_ENDPOINT] = recipe.s3_endpoint
    with contextlib.ExitStack() as stack:
        events = None
        if not given.dry_run:
            stack.enter_context(holding(work, shared=_has_nodes(command, recipe)))
        _claim(recipe.name, work, given.dry_run)
        if not given.dry_run:
            events = stack.enter_context(log_file(work))
        log = Log(events)
        log.event("command", command=command, recipe=recipe.name)
        invocation = Invocation(
            recipe=recipe, work=work, log=log, dry_run=given.dry_run, as_json=bool(given.json),
            resume=bool(given.resume),
            options={name: getattr(given, name) for name in OPTIONS},
        )  # fmt: skip
        carry_out(run_command(COMMANDS[command][0], command), invocation)


def run_command(module: str, command: str) -> Callable[[Any], None]:
    """The function run_<command> of pipelines/commands/<module>.py."""
    found = importlib.import_module(f"pipelines.commands.{module}")
    function: Callable[[Any], None] = getattr(found, f"run_{command.replace('-', '_')}")
    return function


def _has_nodes(command: str, recipe: Recipe) -> bool:
    """Whether several machines run this very command in the work folder, as parts of one training."""
    trained = {"pretrain": recipe.pretrain, "train-detector": recipe.detector}.get(command)
    return trained is not None and trained.nodes > 1


def _claim(recipe: str, work: str, dry_run: bool) -> None:
    """Makes a new work folder the recipe's. Raises ConfigError where it is another's, or where another version of
    openwit made it, whose finished work would in part be done again and in part not."""
    from openwit import storage

    url = storage.join(work, "recipe.json")
    if not storage.exists(url):
        if not dry_run:
            storage.write_json(url, {"recipe": recipe, "format": WORK_FORMAT})
        return
    owner = storage.read_json(url)
    if owner.get("format") != WORK_FORMAT:
        shards = storage.join(work, "shards")
        raise ConfigError(
            f"--work {work}: was made by another version of openwit (format {owner.get('format', 1)} of its "
            f"files, this one writes {WORK_FORMAT}); give another folder with --work DIR, where the shards of this one "
            f"can be used by --pretrain.data {shards}, or by openwit adopt after copying them to DIR/shards"
        )
    if owner["recipe"] != recipe:
        raise ConfigError(
            f"--work {work}: holds recipe {owner['recipe']}, not {recipe}; give another folder with --work DIR"
        )


def _overrides(rest: list[str], recipe: Recipe) -> dict[str, str]:
    from openwit.config import describe, override

    changes: dict[str, str] = {}
    words = iter(rest)
    known = [entry.path for entry in describe(recipe)]
    for word in words:
        if not word.startswith("--"):
            raise ConfigError(f"{word}: unexpected; a field is set by --section.field VALUE")
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if not equals:
            following = next(words, None)
            if following is None or (following.startswith("--") and name not in known):
                if name in known:
                    raise ConfigError(f"--{name}: its value is missing")
                override(recipe, {name: ""})  # raises, and suggests the right field
            value = following or ""
        changes[name] = value
    return changes


def _help() -> str:
    from openwit.log.text_table import text_table

    commands, of_files = (
        text_table((), [(name, text) for name, (_, text) in known.items()]) for known in (COMMANDS, FILE_COMMANDS)
    )
    lines = [f"usage: {USAGE}", "", "CLIP's data set and training, rebuilt in the open.", "", "commands:", commands]
    lines += ["", "commands on files; openwit COMMAND --help says how:", of_files]
    return "\n".join([*lines, "", *_recipe_help()])


def _recipe_help() -> list[str]:
    from pipelines import paper_recipes

    return [
        "recipes: demo, laptop, cc_small, wit400m (the paper's scale, with ViT-B/32), and the paper's nine:",
        f"  {', '.join(paper_recipes.ROWS)}",
        "openwit COMMAND RECIPE --help lists every field",
        LISTS,
    ]


def _command_help(command: str, recipe: str) -> list[str]:
    """Usage, what the command does, and the options that only it and its like have."""
    from openwit.log.text_table import text_table

    lines = [f"usage: {USAGE.replace('COMMAND RECIPE', f'{command} {recipe}')}", "", COMMANDS[command][1], ""]
    own = [(f"--{name} {value}".rstrip(), text) for name, (owners, value, text) in OPTIONS.items() if command in owners]
    if own:
        lines += [f"options of {command}:", text_table((), own), ""]
    return lines


def _field_help(command: str, recipe: Recipe) -> str:
    from openwit.config import describe

    lines = [*_command_help(command, recipe.name), f"fields of recipe {recipe.name}:"]
    for entry in describe(recipe):
        shown = json.dumps(entry.value, ensure_ascii=False).replace('"', "")
        lines.append(f"  --{entry.path} {shown}")
        lines.append(f"        {entry.help} ({entry.type})")
    return "\n".join([*lines, LISTS])
