"""A Ray cluster of two nodes with one CPU each on 127.0.0.1, steered by files: `remove` (the second node), `stop`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from helpers.processes import wait_until


def main(root: Path) -> None:
    """Runs until root/stop is there."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", include_dashboard=False)
    second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    (root / "address.part").write_text(cluster.address)
    (root / "address.part").rename(root / "address")
    wait_until((root / "remove").exists)
    cluster.remove_node(second, allow_graceful=False)
    (root / "removed").touch()
    wait_until((root / "stop").exists)
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
