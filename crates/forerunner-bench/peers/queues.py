"""PGQueuer and Procrastinate, as their documentation has them. Usage: queues.py pgqueuer|procrastinate TASKS URL"""
import asyncio
import sys
import time

WORKERS = 8


async def submit(tasks, one):
    """Submits from as many submitters as there are workers, one task a call."""
    left = iter(range(tasks))

    async def submitter():
        for _ in left:
            await one()

    await asyncio.gather(*(submitter() for _ in range(WORKERS)))


async def pgqueuer(tasks, url):
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
    from pgqueuer.queries import Queries

    pool = await asyncpg.create_pool(url, min_size=WORKERS, max_size=WORKERS)
    queries = Queries(AsyncpgPoolDriver(pool))
    await queries.install()
    done = 0

    def worker():
        queue = PgQueuer(AsyncpgDriver(connection))

        @queue.entrypoint("noop")
        async def noop(_):
            nonlocal done
            done += 1

        return queue

    async def until(count):
        while done < count or await pool.fetchval("SELECT count(*) FROM pgqueuer") > 0:
            await asyncio.sleep(0.005)

    for first in range(0, tasks, 1000):
        some = min(1000, tasks - first)
        await queries.enqueue(["noop"] * some, [None] * some, [0] * some)
    connection = await asyncpg.connect(url)
    queue = worker()
    begun = time.perf_counter()
    running = asyncio.create_task(queue.run(batch_size=100))
    await until(tasks)
    drain = tasks / (time.perf_counter() - begun)
    begun = time.perf_counter()
    await submit(tasks, lambda: queries.enqueue("noop", None))
    await until(2 * tasks)
    end_to_end = tasks / (time.perf_counter() - begun)
    queue.shutdown.set()
    await asyncio.wait([running], timeout=10)
    return drain, end_to_end


async def procrastinate(tasks, url):
    import procrastinate as library

    app = library.App(connector=library.PsycopgConnector(conninfo=url, min_size=WORKERS, max_size=2 * WORKERS))

    @app.task(name="noop")
    async def noop():
        pass

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for first in range(0, tasks, 1000):
            await noop.batch_defer_async(*[{}] * min(1000, tasks - first))
        begun = time.perf_counter()
        await app.run_worker_async(concurrency=WORKERS, wait=False, install_signal_handlers=False)
        drain = tasks / (time.perf_counter() - begun)
        begun = time.perf_counter()
        running = asyncio.create_task(app.run_worker_async(concurrency=WORKERS, install_signal_handlers=False))
        await submit(tasks, noop.defer_async)
        while any(counts["todo"] + counts["doing"] for counts in await app.job_manager.list_queues_async()):
            await asyncio.sleep(0.02)
        end_to_end = tasks / (time.perf_counter() - begun)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return drain, end_to_end


name, count, url = sys.argv[1:]
drain, end_to_end = asyncio.run({"pgqueuer": pgqueuer, "procrastinate": procrastinate}[name](int(count), url))
print(f"{name:<32} {drain:>12.0f} {end_to_end:>12.0f}")
