"""Jobs on a Ray cluster (extra `[ray]`): Ray Data streams them through actors that keep their network loaded.

Resuming is not Ray's business: a job whose label exists does nothing, see `jobs`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from model.errors import ConfigError

from .gpus import shared
from .jobs import Job, Outcome, run_job


def run_ray(jobs: Sequence[Job], workers: int, address: str | None) -> Generator[Outcome]:
    """Yields outcomes as they come.

    Args:
        jobs: What to do; episodes and store must lie where every node of the cluster sees them.
        workers: Actors at once; where the labeller wants a GPU and the cluster has some, two a GPU at most.
        address: Of a running cluster; None starts Ray on this machine, without its dashboard (it has no login).

    Raises:
        ConfigError: Ray is not installed, or the cluster does not answer.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("--engine ray needs the extra: pip install 'foresight-workbench[ray]'") from error
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    except ConnectionError as error:
        raise ConfigError(f"--ray-address {address}: no cluster answers there ({error})") from error
    try:
        context: Any = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = [{"job": job} for job in jobs]
        blocks: Any = ray.data.from_items(rows, override_num_blocks=len(rows))  # one job a task: they are uneven
        gpus = int(ray.cluster_resources().get("GPU", 0)) if any(job.labeller.wants_gpu for job in jobs) else 0
        actors, share = shared(max(1, min(workers, len(rows))), gpus)
        outcomes = blocks.map(_Worker, concurrency=actors, num_cpus=1, num_gpus=share or None)
        for row in outcomes.iter_rows():
            yield row["outcome"]
    finally:
        ray.shutdown()


class _Worker:
    """An actor: its labeller is built once, by the first job."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": run_job(row["job"])}
