from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from helpers.ports import keep_port
from helpers.processes import start
from helpers.shards import write_shards
from helpers.training import curve, job
from helpers.undisturbed import Undisturbed
from openwit.errors import ConfigError
from train.job import Job, make_record, write_record
from train.launch.nodes import meeting_options, on_loopback, open_rank_errors


def on_two_nodes(made: Job, tmp_path: Path) -> tuple[list[int], list[str]]:
    """The exit codes and outputs of two launchers of the job."""
    url = write_record(make_record(made))
    outputs = [tmp_path / f"node-{number}.txt" for number in range(2)]
    launchers = [start(["-m", "helpers.training", url], output) for output in outputs]
    return [launcher.wait(300) for launcher in launchers], [output.read_text() for output in outputs]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_nodes_of_one_rank_learn_bit_for_bit_what_one_node_of_two_learns(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    two = undisturbed.job(tmp_path / "two", ranks=1, nodes=2, rendezvous=f"127.0.0.1:{keep_port()}")
    codes, outputs = on_two_nodes(two, tmp_path)
    assert codes == [0, 0], outputs
    assert all("on 1 ranks of each of 2 nodes" in output for output in outputs)
    undisturbed.assert_same(curve(tmp_path / "two"), two.checkpoints)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_launchers_of_all_nodes_end_with_the_error_of_one_rank(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [16, 20])
    codes, outputs = on_two_nodes(
        job(
            tmp_path / "data", tmp_path / "out", ranks=1, nodes=2, device="cuda", rendezvous=f"127.0.0.1:{keep_port()}"
        ),
        tmp_path,
    )
    assert codes == [2, 2], outputs
    assert all("error: pretrain.device=cuda: this machine has 0 GPUs for 1 ranks" in output for output in outputs)


def test_an_error_of_one_node_is_reported_on_the_other_but_not_that_of_an_earlier_run(tmp_path: Path) -> None:
    made = job(tmp_path / "data", tmp_path / "out", ranks=1, nodes=2, rendezvous="node-1:29500")
    note = {"kind": "ConfigError", "message": "write 4", "rank": 1, "unix_s": 5.0}
    with open_rank_errors(made, everywhere=True) as errors:
        (errors.folder / "rank-0.json").write_text(json.dumps(note | {"kind": "RuntimeError", "unix_s": 4.0}))
        (errors.folder / "rank-1.json").write_text(json.dumps(note))
        error = errors.error()
    assert isinstance(error, ConfigError)
    assert str(error) == "write 4"
    for path in errors.folder.glob("*.json"):
        os.utime(path, (1e9, 1e9))
    with open_rank_errors(made, everywhere=True) as errors:
        assert errors.records() == []


def test_nodes_meet_at_the_rendezvous_and_one_node_alone(tmp_path: Path) -> None:
    one = job(tmp_path / "data", tmp_path / "out")
    assert meeting_options(one) == ["--standalone", "--local-addr=127.0.0.1"]
    assert on_loopback(one.config)
    four = job(tmp_path / "data", tmp_path / "out", ranks=1, nodes=4, rendezvous="node-1:29500")
    assert {"--nnodes=4", "--rdzv-backend=c10d", "--rdzv-endpoint=node-1:29500"} < set(meeting_options(four))
    assert not any(option.startswith("--local-addr") for option in meeting_options(four))
    assert not on_loopback(four.config)
    other = job(tmp_path / "data", tmp_path / "other", ranks=1, nodes=4, rendezvous="node-1:29500")
    assert meeting_options(other) != meeting_options(four)
