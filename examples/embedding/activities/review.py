"""Activities of the workflow `ReviewArticle`."""

from groups import EDITORS
from store.reviews import Reviews
from temporalio import activity
from workflows.review import Review

from tertulia import IdTaken, Tertulia


class ReviewActivities:
    """Activities that use Tertulia and the store."""

    def __init__(self, tertulia: Tertulia, reviews: Reviews) -> None:
        self._tertulia = tertulia
        self._reviews = reviews

    @activity.defn
    async def discuss(self, question: str) -> Review:
        """Start a conversation about the question and wait for the end of its round."""
        # The id depends on the workflow only: a retry continues the conversation instead of starting a second one.
        conversation_id = f"review-{activity.info().workflow_id}"
        try:
            conversation = await self._tertulia.conversations.create(EDITORS, question, id=conversation_id)
        except IdTaken:
            conversation = self._tertulia.conversations.handle(conversation_id)
        status = await conversation.wait_for_round()
        messages = [message async for message in conversation.transcript()]
        return Review(conversation.id, status.turn, messages[-1].text)

    @activity.defn
    async def save(self, review: Review) -> None:
        """Store a review."""
        self._reviews.save(review)
