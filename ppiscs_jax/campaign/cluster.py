"""Runners of a campaign's tasks: in this process, in processes of this machine, or on a cluster."""

import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
from pydantic import Field

from ppiscs_jax.config import Model, load_config
from ppiscs_jax.errors import InputError, MissingExtraError

Work = Callable[[Any], Any]
Results = Generator[tuple[Any, Any], None, None]
Runner = Callable[[Work, Sequence[Any]], Results]
"""Runs a function on items and yields (item, result or exception) as they finish."""

ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
}
"""Environment of workers on CPUs, of which there is one per core."""

THREADS_PER_GPU = 6
"""Tasks of a process at once on a GPU: while some compute, others compile, or write their files."""

RETRIES = 3
"""Number of times that a task is given to another worker after its own has died."""


class SlurmConfig(Model):
    """Jobs of a SLURM cluster.

    Attributes:
        jobs: how many are submitted.
        cluster: keyword arguments of dask_jobqueue.SLURMCluster.
    """

    jobs: Annotated[int, Field(strict=True, gt=0)]
    cluster: dict[str, Any]


@dataclass(frozen=True)
class Resources:
    """Compute resources. At most one of `scheduler` and `slurm` may be given.

    Attributes:
        workers: processes on this machine; 1 computes in this process, on a GPU in
            THREADS_PER_GPU threads.
        scheduler: address of a running dask scheduler, such as tcp://host:8786. On machines
            with GPUs it should have one worker process, of one thread, for each GPU.
        slurm: TOML file of a `SlurmConfig`.
    """

    workers: int = 1
    scheduler: str | None = None
    slurm: Path | None = None

    def problems(self) -> list[str]:
        """Problems that can be found without connecting to a cluster."""
        found = []
        if self.workers < 1:
            found.append(f"workers = {self.workers}: must be 1 or more")
        if self.scheduler is not None and self.slurm is not None:
            found.append("scheduler and slurm: give one of them, not both")
        if self.scheduler is not None and not self.scheduler.strip():
            found.append(
                f"scheduler = {self.scheduler!r}: must be an address, such as tcp://host:8786"
            )
        if self.slurm is not None:
            try:
                load_config(self.slurm, SlurmConfig)
            except InputError as error:
                found += [f"slurm: {problem}" for problem in error.problems]
        return found


@contextmanager
def runner(resources: Resources) -> Iterator[Runner]:
    """A function that runs tasks on the resources, which are released afterwards.

    Raises:
        InputError: the scheduler does not answer, or a needed package is missing.
    """
    if resources == Resources():
        yield _one_after_the_other if jax.default_backend() == "cpu" else _in_threads
        return
    with _client(resources) as client:
        yield lambda work, items: _on_client(client, work, items)


def _attempt(work: Work, item: Any) -> Any:
    """The result of work, or the exception it raised, which dask would print with its traceback."""
    try:
        return work(item)
    except Exception as error:
        return error


def _one_after_the_other(work: Work, items: Sequence[Any]) -> Results:
    for item in items:
        yield item, _attempt(work, item)


def _in_threads(work: Work, items: Sequence[Any]) -> Results:
    pool = ThreadPoolExecutor(THREADS_PER_GPU)
    try:
        futures = {pool.submit(_attempt, work, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _on_client(client: Any, work: Work, items: Sequence[Any]) -> Results:
    import distributed

    futures = {
        client.submit(_attempt, work, item, priority=-i, pure=False): item
        for i, item in enumerate(items)
    }
    for future in distributed.as_completed(list(futures), loop=client.loop):
        if future.cancelled():
            raise ConnectionError("lost the connection to the dask scheduler")
        # An error of dask's own: workers died.
        result = future.exception() if future.status == "error" else future.result()
        yield futures.pop(future), result


@contextmanager
def _client(resources: Resources) -> Iterator[Any]:
    try:
        import dask
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise MissingExtraError(error) from error

    if resources.scheduler is not None:
        try:
            client = Client(resources.scheduler, timeout="30s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(f"scheduler = {resources.scheduler!r}: {error}") from error
        with client:
            yield client
        return
    # Importing JAX on a busy machine takes a while; a worker is not dead for that.
    settings = {
        "distributed.scheduler.allowed-failures": RETRIES,
        "distributed.comm.timeouts.connect": "60s",
        # Forked processes would hang: JAX has threads.
        "distributed.worker.multiprocessing-method": "spawn",
    }
    with dask.config.set(settings):
        if resources.slurm is not None:
            cluster = _slurm_cluster(resources.slurm)
        else:
            cluster = LocalCluster(
                n_workers=resources.workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=":0",
                env=ONE_THREAD,
            )
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


def _slurm_cluster(path: Path) -> Any:
    config = load_config(path, SlurmConfig)
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise InputError(
            "slurm: needs dask-jobqueue; install ppiscs-jax with the extra `slurm`"
        ) from error
    if not shutil.which("sbatch"):
        raise InputError("slurm: there is no command sbatch on this machine")
    try:
        cluster = SLURMCluster(**config.cluster)
    except (TypeError, ValueError) as error:
        raise InputError(f"slurm {path}: {error}") from error
    cluster.scale(jobs=config.jobs)
    return cluster
