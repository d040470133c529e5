"""The author's API: tasks, workflows, events, and the run that a workflow sees."""
