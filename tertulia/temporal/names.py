"""Names under which clients and workers find each other's workflows and task queues, and timeouts both sides use."""

from datetime import timedelta

GROUP_CONVERSATION = "GroupConversation"
"""The workflow type of a conversation. Its id is the conversation's id."""
GROUP_CHANGE = "GroupChange"
"""The workflow type of a change of groups."""

WORKFLOW_TASK_TIMEOUT = timedelta(seconds=5)
"""Time after which a workflow task is given to another worker: a killed worker does not report that it lost one."""
