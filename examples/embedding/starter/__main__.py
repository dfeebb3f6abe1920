"""Start a review and print its result as JSON: `python -m starter QUESTION [WORKFLOW_ID]`."""

import asyncio
import json
import sys
import uuid
from dataclasses import asdict

from configuration import from_environment
from temporalio.client import Client
from workflows.review import TASK_QUEUE, ReviewArticle

from tertulia import Configuration
from tertulia.temporal.plugin import TertuliaClientPlugin


async def main(question: str, workflow_id: str) -> None:
    """Execute the workflow."""
    keys = Configuration.from_environment().encryption_keys
    client = await Client.connect(**from_environment(), plugins=[TertuliaClientPlugin(keys)])
    review = await client.execute_workflow(ReviewArticle.run, question, id=workflow_id, task_queue=TASK_QUEUE)
    print(json.dumps(asdict(review)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else uuid.uuid4().hex[:8]))
