"""A workflow that lets the editors discuss an article."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

TASK_QUEUE = "reviews"


@dataclass(frozen=True)
class Review:
    """The result of a discussion."""

    conversation_id: str
    """Tertulia's conversation."""
    turns: int
    """Turns of the editors."""
    last_words: str
    """The last message."""


@workflow.defn
class ReviewArticle:
    """Let the group discuss a question, and store the result."""

    @workflow.run
    async def run(self, question: str) -> Review:
        """Return the review after it was stored."""
        review: Review = await workflow.execute_activity(
            "discuss",
            question,
            result_type=Review,
            start_to_close_timeout=timedelta(minutes=30),
            heartbeat_timeout=timedelta(seconds=5),
        )
        await workflow.execute_activity("save", review, start_to_close_timeout=timedelta(seconds=10))
        return review
