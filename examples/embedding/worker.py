"""One process with this project's worker and the workers of Tertulia."""

import asyncio
import signal

from activities.review import ReviewActivities
from configuration import from_environment
from groups import define_groups
from store.reviews import Reviews
from temporalio.client import Client
from temporalio.worker import Worker
from workflows.review import TASK_QUEUE, ReviewArticle

from tertulia import Configuration, Tertulia
from tertulia.activities.heartbeat_interceptor import HeartbeatInterceptor
from tertulia.temporal.plugin import TertuliaClientPlugin
from tertulia.worker import run_workers


async def main() -> None:
    """Run all workers until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = Configuration.from_environment()
    client = await Client.connect(**from_environment(), plugins=[TertuliaClientPlugin(settings.encryption_keys)])
    async with (
        run_workers(client, settings) as resources,
        Tertulia.connect(settings, temporal_client=client) as tertulia,
        Reviews("reviews.sqlite") as reviews,
    ):
        await define_groups(tertulia)
        activities = ReviewActivities(tertulia, reviews)
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[ReviewArticle],
            activities=[activities.discuss, activities.save],
            # Heartbeats for these activities, too, so that another worker soon continues those of a killed one.
            interceptors=[HeartbeatInterceptor(resources.leases)],
        )
        async with worker:
            print("ready", flush=True)
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
