"""A claimed batch: kept by whoever works on it, and taken from whoever does not."""

from __future__ import annotations

import threading

from agentstate.memory.embedding.queue import EmbeddingBacklog
from agentstate.memory.embedding.worker import hold_lease
from tests.integration.memory.test_pipeline import counts, remember
from tests.worlds.memories import World

SOON_S = 0.3


def test_a_slow_worker_keeps_its_batch(world: World) -> None:
    remember(world, 1)
    slow, other = EmbeddingBacklog(world.store), EmbeddingBacklog(world.store)
    batch = slow.claim_batch(1, lease_s=SOON_S)
    renewed = threading.Event()
    renew = slow.renew_lease

    def renew_and_tell(*arguments: object, **options: float) -> int:
        done = renew(*arguments, **options)  # type: ignore[arg-type]
        renewed.set()
        return done

    slow.renew_lease = renew_and_tell  # type: ignore[method-assign]
    with hold_lease(slow, batch, at_most_s=60, every_s=SOON_S):
        world.make_due()
        assert renewed.wait(60)
        assert other.claim_batch(1, lease_s=SOON_S).memories == []
    assert slow.mark_searchable(batch, {batch.memories[0].seq: 1}, "space") == 1


def test_a_worker_that_died_loses_its_batch_when_the_lease_ends(world: World) -> None:
    remember(world, 1)
    assert len(EmbeddingBacklog(world.store).claim_batch(1, lease_s=SOON_S).memories) == 1
    pipeline, over = world.pipeline(), threading.Event()
    while not pipeline.run_once().claimed:
        over.wait(SOON_S / 4)
    assert counts(world).searchable == 1


def test_a_worker_that_hangs_loses_its_batch_in_the_end(world: World) -> None:
    remember(world, 1)
    batch = EmbeddingBacklog(world.store).claim_batch(1, lease_s=60)
    with hold_lease(EmbeddingBacklog(world.store), batch, at_most_s=0, every_s=0.01):
        world.make_due()
        assert len(EmbeddingBacklog(world.store).claim_batch(1, lease_s=60).memories) == 1
