"""Data-parallel training: every replica takes its share of each batch, and all of them make one step together.

With N replicas, batch B and loss l_i of image i, one process minimises the mean over the chosen images C of the batch,

    L = sum_{i in C} l_i / |C|        replica r computes L_r = sum_{i in C_r} l_i / |C|,   so that   L = sum_r L_r

and tf.distribute adds up the replicas' gradients. |C| is the count over all replicas, not the replica's own: shares of
a batch may hold different numbers of known images. Batch normalisation takes mean and variance over the whole
batch too. So the same settings give the same network as one process, up to the rounding of sums.

A replica is a device with a copy of the network; a worker is a process with one or more replicas; the chief is the
first worker. Where there is one replica, all of this stands aside: the training is that of one process, bit for bit.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from envise_tf.distillation.synchronised import SynchronisedBatchNormalization
from envise_tf.errors import UserError, as_word
from envise_tf.run import Run

Strategy = Literal["one", "mirrored", "multi_worker", "tpu"]

_EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


_SIGNS_OF_LOSS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)
"""What TensorFlow raises in a worker when another one has gone."""


_ANSWERS_WITHIN = 2.0
"""Seconds that a worker's port is given to answer."""


@dataclass(frozen=True)
class Workers:
    """The workers that TF_CONFIG names.

    Attributes:
        addresses: HOST:PORT of each, the chief first.
        place: which of them this process is.
    """

    addresses: tuple[str, ...]
    place: int = 0

    @property
    def others(self) -> list[str]:
        return [address for place, address in enumerate(self.addresses) if place != self.place]


@dataclass(frozen=True)
class Replicas:
    """The replicas that train together, and the place of this process among them.

    Responsible for what differs between one replica and several: where variables live, which share of a batch is
    whose, and which process keeps the run's folder. Must not know what is trained.

    Attributes:
        strategy: TensorFlow's.
        workers: None where one process trains alone.
    """

    strategy: tf.distribute.Strategy
    workers: Workers | None = None

    @property
    def count(self) -> int:
        return self.strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's folder, evaluates and shows progress."""
        return self.workers is None or self.workers.place == 0

    def scope(self) -> contextlib.AbstractContextManager[object]:
        """Returns a context in which new variables, such as an optimiser's, get a copy in each replica."""
        return contextlib.nullcontext() if self.count == 1 else self.strategy.scope()

    def copied(self, model: tf.keras.Model) -> tf.keras.Model:
        """Returns a copy of a model with its weights that lives in all replicas; with one replica the model itself.

        Args:
            model: functional or sequential; its batch normalisations are `SynchronisedBatchNormalization` in the copy.
        """
        if self.count == 1:
            return model
        with self.scope():
            copy = tf.keras.models.clone_model(model, clone_function=_synchronised)
            copy.set_weights(model.get_weights())
        return copy

    def copied_back(self, copy: tf.keras.Model, model: tf.keras.Model) -> None:
        """Gives the model the weights of its copy. All workers must call it: some weights are means over replicas."""
        if copy is not model:
            model.set_weights(copy.get_weights())

    def shares(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the batches as `fit` takes them: cut into one part a replica, in order, as even as may be.

        Every worker makes the whole batches, and keeps its rows. So batch k is the same however many share it.

        Args:
            batches: of tensors, or tuples of them, whose first axis counts the images.
        """
        if self.count == 1:
            return batches
        return self.strategy.distribute_datasets_from_function(lambda context: _shares(batches, context))

    def gathered(self, number: int) -> set[int]:
        """Returns the numbers that the workers give, each once; waits until all of them have given theirs."""
        if self.workers is None:
            return {number}
        mine = tf.constant([number], tf.int64)
        gathered = self.strategy.run(lambda: tf.distribute.get_replica_context().all_gather(mine, axis=0))
        return {int(each) for each in self.strategy.experimental_local_results(gathered)[0].numpy()}

    def require_same(self, settings: str) -> None:
        """Checks that all workers have been asked for the same.

        Args:
            settings: this worker's, as text, without those that may differ from machine to machine, such as folders.

        Raises:
            UserError: they differ.
        """
        if len(self.gathered(zlib.crc32(settings.encode()))) > 1:
            raise UserError("the workers were started with different settings: start all of them with the same flags")

    @contextlib.contextmanager
    def writing(self, run: Run, resumed: bool) -> Iterator[Run]:
        """Yields the run to write to; any worker but the chief gets one of its own, which is removed at the end.

        tf.distribute wants every worker to save checkpoints, since saving gathers values from all. The others' go
        nowhere, and so does what they print.

        Args:
            run: in the folder that all workers see.
            resumed: whether there is a state to resume from, which every worker then needs.

        Raises:
            UserError: from the body, another worker was lost.
        """
        with self._lost_worker_told(run):
            if self.is_chief:
                yield run
            else:
                with (
                    tempfile.TemporaryDirectory() as folder,
                    open(os.devnull, "w") as nowhere,
                    contextlib.redirect_stdout(nowhere),
                ):
                    if resumed:
                        run.copy_state(Path(folder))
                    yield Run(Path(folder))
            self.gathered(0)  # A worker that leaves while others still work counts as lost.

    @contextlib.contextmanager
    def _lost_worker_told(self, run: Run) -> Iterator[None]:
        try:
            yield
        except _SIGNS_OF_LOSS as error:
            if self.workers is None:
                raise
            lost = [address for address in self.workers.others if not _answers(address)]
            who = f"worker {', '.join(lost)}" if lost else "the connection to another worker"
            raise UserError(
                f"{who} was lost ({type(error).__name__}), and the others end too: "
                f"start all workers again with --resume {as_word(run.folder)}"
            ) from error


def one_replica() -> Replicas:
    """Returns the single replica of a process that trains alone."""
    return Replicas(tf.distribute.get_strategy())


def replicas_of(strategy: Strategy, batch_size: int, told: Callable[[str], None] = lambda line: None) -> Replicas:
    """Returns the replicas of a strategy.

    With "multi_worker" it must come before any other work of TensorFlow in the process, and waits for all workers.

    Args:
        strategy: "one" device, "mirrored" over all GPUs of this machine, "multi_worker" over the processes that
            TF_CONFIG names, or "tpu".
        batch_size: images per step, which the replicas share evenly.
        told: called with a line for the user: which workers are waited for, and how many replicas there are.

    Raises:
        UserError: TF_CONFIG is missing or malformed, the batch cannot be shared evenly, or the devices cannot be
            reached.
    """
    if strategy == "one":
        return one_replica()
    workers = None
    if strategy == "multi_worker":
        workers = _workers(os.environ.get("TF_CONFIG"))
        devices = len(tf.config.list_physical_devices("GPU")) or 1
        _require_even(batch_size, len(workers.addresses) * devices)
        place, waits = f"worker {workers.place + 1} of {len(workers.addresses)}", ", ".join(workers.others)
        told(f"{place} waits for {waits}" if waits else place)
    try:
        replicas = Replicas(_strategy(strategy, workers), workers)
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--strategy {strategy} cannot start ({reason}): check devices, addresses and ports") from error
    _require_even(batch_size, replicas.count)
    told(f"{strategy}: {replicas.count} replica(s), {batch_size // replicas.count} images each")
    return replicas


@functools.lru_cache
def _strategy(name: Strategy, workers: Workers | None) -> tf.distribute.Strategy:
    if name == "mirrored":
        devices = [each.name for each in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
        return tf.distribute.MirroredStrategy(devices)
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def _workers(text: str | None) -> Workers:
    """Returns the workers that the text of TF_CONFIG names."""
    if not text:
        raise UserError(f"--strategy multi_worker without TF_CONFIG: expected it as in TF_CONFIG='{_EXAMPLE}'")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        tasks = [(kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, ())))]
        addresses = tuple(cluster[kind][index] for kind, index in tasks)
        if set(cluster) - {"chief", "worker"} or not all(map(_is_address, addresses)):
            raise ValueError(f"cluster {cluster}")
        return Workers(addresses, tasks.index((task["type"], int(task["index"]))))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"TF_CONFIG is {text} ({reason}): expected something like {_EXAMPLE}") from None


def _is_address(text: object) -> bool:
    return isinstance(text, str) and text.rpartition(":")[2].isdigit()


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _ANSWERS_WITHIN):
            return True
    except OSError:
        return False


def _require_even(batch_size: int, count: int) -> None:
    if batch_size % count:
        raise UserError(
            f"batch_size {batch_size} is shared by {count} replicas: expected a multiple of {count}, such as "
            f"{-(-batch_size // count) * count}"
        )


def _shares(batches: tf.data.Dataset, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Returns the parts of each batch that the replicas of one worker take, one after the other."""
    count = context.num_replicas_in_sync
    here = count // context.num_input_pipelines
    first = context.input_pipeline_id * here

    def parts(*batch: Any) -> tf.data.Dataset:
        def part(number: tf.Tensor) -> Any:
            def rows(values: tf.Tensor) -> tf.Tensor:
                images = tf.shape(values, tf.int64)[0]
                return values[images * number // count : images * (number + 1) // count]

            return tf.nest.map_structure(rows, batch if len(batch) > 1 else batch[0])

        return tf.data.Dataset.range(first, first + here).map(part)

    return batches.flat_map(parts).prefetch(2)


def _synchronised(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """Returns a new layer of the same configuration, at any depth of nested models."""
    if isinstance(layer, tf.keras.Model):
        return tf.keras.models.clone_model(layer, clone_function=_synchronised)
    is_plain = type(layer) is tf.keras.layers.BatchNormalization
    return (SynchronisedBatchNormalization if is_plain else type(layer)).from_config(layer.get_config())
