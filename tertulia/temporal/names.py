"""Names by which clients and workers find each other's workflows, updates and task queues, and shared timeouts.

Invariant: the values are stored in histories and in users' scripts; they never change.
"""

from datetime import timedelta

GROUP_CONVERSATION = "GroupConversation"
"""The workflow type of a conversation. Its id is the conversation's id."""
GROUP_CHANGE = "GroupChange"
"""The workflow type of a change of groups."""

GROUP_CHANGE_STORED = "written"
"""The update of `GroupChange` that returns as soon as the change is stored."""
SET_GROUP_REVISION = "group_changed"
"""The update of `GroupConversation` that reports a new revision of its group."""
STATUS = "status"
"""The query of `GroupConversation` for its `ConversationStatus`."""
ROSTER = "roster"
"""The query of `GroupConversation` for its `RosterStatus`."""
RECENT_TURNS = "recent_turns"
"""The query of `GroupConversation` for its last turns, a list of `TurnSummary`."""

WORKFLOW_TASK_TIMEOUT = timedelta(seconds=5)
"""Time after which a workflow task is given to another worker: a killed worker does not report that it lost one."""


def model_task_queue(task_queue: str) -> str:
    """Return the queue of the activities that call models, given the queue of the workflows.

    A queue of their own lets model calls be limited, shared and scaled apart from everything else.
    """
    return f"{task_queue}-models"
