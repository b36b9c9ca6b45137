"""The ranks of a training as workers of Ray Train: the one launcher beside torchrun's."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from openwit.errors import ConfigError, WorkError, one_line
from openwit.executors.executor import ExecutorConfig
from openwit.executors.ray import ray_connection
from openwit.log.events import Log
from train import rank_main
from train.config import AnyTrainingConfig
from train.job import Job
from train.launch.nodes import RankErrors, open_rank_errors
from train.launch.torchrun import Begun, begin
from train.metrics.metrics import LiveLine, last_record

LOOK_S = 0.5


def launch_on_ray(job: Job, executor: ExecutorConfig, log: Log) -> None:
    """Trains as train.launch.torchrun.launch does, on `ranks` times `nodes` workers of the Ray cluster at the
    executor's address; from the last checkpoint again where a worker died, `attempts` times in all. The training's
    folder must be one that all of the cluster's nodes see.

    Raises what train.launch.torchrun.launch raises; WorkError too where the cluster has too little for the ranks.
    """
    if executor.address.startswith("ray://"):
        raise ConfigError(
            f"overlap_executor.address={executor.address}: Ray Train has no client; run this command on a node of the "
            "cluster, with auto or host:port"
        )
    begun = begin(job, log)
    if begun is None:
        return
    section = begun.job.config.section
    with ray_connection(executor.address, _num_workers(begun.job.config)):
        _require_room(begun.job.config)
        for left in reversed(range(executor.attempts)):
            why = _train(begun, log)
            if why is None:
                break
            if not left:
                raise WorkError(f"{begun.job.config.command}: {why}; the same command goes on from the last checkpoint")
            log.event(f"{section}_again", reason=why)
            log.say(f"{begun.job.config.command}: {why}; again from the last checkpoint")
    log.event(f"{section}_done", step=begun.num_steps)


def _num_workers(config: AnyTrainingConfig) -> int:
    return config.ranks * config.nodes


def _require_room(config: AnyTrainingConfig) -> None:
    """Raises WorkError where the cluster could never hold all ranks: Ray itself would wait for it."""
    import ray

    kind = "GPU" if config.device == "cuda" else "CPU"
    there = int(ray.cluster_resources().get(kind, 0))  # type: ignore[no-untyped-call]
    if there < _num_workers(config):
        advice = f"ranks {max(1, there // config.nodes)}" if there or kind == "CPU" else "device cpu"
        raise WorkError(
            f"the Ray cluster has {there} {kind}s for {_num_workers(config)} ranks; wait for its nodes, or write "
            f"--{config.section}.{advice}"
        )


def _train(begun: Begun, log: Log) -> str | None:
    """One try. None where it came to the end, else what ended it. Raises a rank's own error."""
    from ray.train.torch import TorchConfig
    from ray.train.v2.api.config import RunConfig, ScalingConfig
    from ray.train.v2.api.exceptions import TrainingFailedError
    from ray.train.v2.torch.torch_trainer import TorchTrainer

    from train.ranks import TIMEOUT

    job, config = begun.job, begun.job.config
    on_gpus = config.device == "cuda"
    with open_rank_errors(job, everywhere=True) as errors, _shown(begun, log):
        trainer = TorchTrainer(
            _rank,
            train_loop_config={"url": begun.record_url, "errors": str(errors.folder)},
            scaling_config=ScalingConfig(num_workers=_num_workers(config), use_gpu=on_gpus),
            torch_config=TorchConfig("nccl" if on_gpus else "gloo", timeout_s=int(TIMEOUT.total_seconds())),
            run_config=RunConfig(
                name="run", storage_path=str(Path(job.here) / "ray"), worker_runtime_env=_environment(config)
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            return _reason(errors, error)
    return None


def _rank(settings: dict[str, str]) -> None:
    """The life of a worker: a rank in the process group that Ray Train has made."""
    os.environ[rank_main.ERRORS_FOLDER] = settings["errors"]
    if rank_main.carry_out(settings["url"]):
        raise RuntimeError("the rank has reported why")


def _environment(config: AnyTrainingConfig) -> dict[str, dict[str, str]]:
    """What workers find in their environment."""
    import ray

    threads = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    here = address.startswith("127.")  # and the host's name may resolve to no address of it
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if here and config.device == "cpu" else {}
    return {"env_vars": threads | loopback}


def _reason(errors: RankErrors, error: Exception) -> str:
    """What ended a try from outside. Raises the error where it is of our own: another try would end alike."""
    if own := errors.error():
        raise own
    records = errors.records()
    if records:
        return f"rank {records[0]['rank']}: {records[0]['message']}"
    return f"a worker of Ray died ({one_line(str(error))[:200]})"


@contextlib.contextmanager
def _shown(begun: Begun, log: Log) -> Iterator[None]:
    """The newest metrics are shown meanwhile."""
    line, path = LiveLine(log.stream, begun.job.config.command, begun.num_steps), Path(begun.job.metrics)
    ended = threading.Event()

    def show() -> None:
        before = last_record(path)
        while not ended.wait(LOOK_S):
            record = last_record(path)
            if record is not None and record != before:
                line.show(record)

    watching = threading.Thread(target=show, daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
