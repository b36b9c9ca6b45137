"""A Ray cluster of two nodes with one CPU each on 127.0.0.1, steered by files: `remove` (the second node), `stop`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from helpers.ports import keep_port
from helpers.processes import wait_until


def main(root: Path, with_client_server: bool) -> None:
    """Runs until root/stop is there; root/address holds what to connect to, ray:// where a client's server runs."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # else one client in four finds that its server died when forked
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    port = keep_port() if with_client_server else None
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", include_dashboard=False, ray_client_server_port=port)
    second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    (root / "address.part").write_text(f"ray://127.0.0.1:{port}" if with_client_server else cluster.address)
    (root / "address.part").rename(root / "address")
    wait_until((root / "remove").exists)
    cluster.remove_node(second, allow_graceful=False)
    (root / "removed").touch()
    wait_until((root / "stop").exists)
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(Path(sys.argv[1]), "client" in sys.argv[2:])
