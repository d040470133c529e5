"""Mutants of replay and of the worker: order, identity, and effects before their records."""

from __future__ import annotations

from tests.mutants.mutant import (
    CALLS,
    CLAIMS,
    CONTRACT,
    DURABLE,
    KILLERS,
    MATRIX,
    PROPERTY,
    SQL,
    STORE,
    Mutant,
)

REPLAY = (
    Mutant(
        "memo-in-wrong-order",
        SQL,
        "ORDER BY e.run_id, e.number;",
        "ORDER BY e.run_id, e.number DESC;",
        (STORE + "test_entries_by_number_and_page",),
    ),
    Mutant(
        "delivered-in-wrong-order",
        "workflow/execution.py",
        "if call.waited:\n                heapq.heappush(self._deliverable, entry.number)",
        "if call.waited:\n                self._deliverable.insert(0, entry.number)",
        (
            KILLERS + "test_results_come_back_in_the_order_of_their_numbers",
            PROPERTY + "test_a_crash_at_every_entry_changes_nothing",
        ),
    ),
    Mutant(
        "new-calls-not-held",
        "workflow/execution.py",
        "elif self._undelivered or self.expected or self._held:",
        "elif self._held:",
        (
            CONTRACT + "test_new_calls_are_held_until_every_entry_is_delivered",
            PROPERTY + "test_an_inserted_or_changed_call_is_caught_before_anything_executes",
        ),
    ),
    Mutant(
        "expected-starts-ignored",
        "workflow/execution.py",
        "elif self._undelivered or self.expected or self._held:",
        "elif self._undelivered or self._held:",
        (PROPERTY + "test_open_starts_count_as_recorded",),
    ),
    Mutant(
        "open-starts-forgotten",
        "worker/driver.py",
        "for key in started - recorded - dropped",
        "for key in started & recorded - dropped",
        (KILLERS + "test_code_that_does_not_ask_for_an_open_start_has_diverged",),
    ),
    Mutant(
        "ordinal-ignored",
        "workflow/execution.py",
        "self._ordinals[address] = count + 1",
        "self._ordinals[address] = count",
        (
            CONTRACT + "test_identical_calls_take_only_the_result_of_their_own_key",
            CONTRACT + "test_a_call_that_timed_out_and_was_repeated_has_another_key",
        ),
    ),
    Mutant(
        "run-clock-goes-back",
        "workflow/execution.py",
        "self.loop.instant = max(self.loop.instant, entry.at)",
        "self.loop.instant = self.loop.instant",
        (CONTRACT + "test_the_runs_time_is_the_instant_of_the_last_delivered_entry",),
    ),
)

EFFECTS = (
    Mutant(
        "effect-before-record",
        "worker/journal.py",
        "return gate <= self._recorded",
        "return gate <= self._changes",
        (KILLERS + "test_nothing_follows_from_what_is_not_on_record",),
    ),
    Mutant(
        "logs-not-held",
        "worker/journal.py",
        "while self._logs and self._logs[0][0] <= self._recorded:",
        "while self._logs:",
        (KILLERS + "test_nothing_follows_from_what_is_not_on_record",),
    ),
    Mutant(
        "inbox-by-id-alone",
        "worker/inbox.py",
        "return (fact.at, FACT_ORDER[fact.kind], fact.id)",
        "return (0, 0, fact.id)",
        (KILLERS + "test_facts_are_taken_by_instant_then_kind_then_id",),
    ),
    Mutant(
        "timer-before-older-fact",
        "worker/outside.py",
        "if timer is not None and (fact is None or (timer.due_at or 0) < fact.at):",
        "if timer is not None:",
        (KILLERS + "test_a_fact_goes_before_a_timer_of_its_instant",),
    ),
    Mutant(
        "at-most-once-repeated",
        "worker/tries.py",
        "if lost and task.at_most_once:",
        "if lost > 1 and task.at_most_once:",
        (DURABLE + "test_an_interrupted_at_most_once_task_raises_and_is_not_repeated",),
    ),
    Mutant(
        "at-most-once-start-unrecorded",
        "worker/tries.py",
        "if task.at_most_once or (task.retry.attempts > 1 and self._lost.get(call.key)):",
        "if task.retry.attempts > 1 and self._lost.get(call.key):",
        (DURABLE + "test_an_interrupted_at_most_once_task_raises_and_is_not_repeated",),
    ),
    Mutant(
        "task-attempts-not-counted",
        "worker/tries.py",
        "return last.number + 1 if last is not None else 1",
        "return last.number if last is not None else 1",
        (
            KILLERS + "test_the_next_attempt_has_the_next_number",
            CALLS + "test_a_task_is_tried_so_often_and_no_more",
        ),
    ),
    Mutant(
        "run-attempts-not-counted",
        "machine/decisions.py",
        'changes = {"attempt": state.attempt + 1, "retry_pending": False}',
        'changes = {"attempt": state.attempt, "retry_pending": False}',
        (
            MATRIX + "test_only_the_claim_after_a_retry_starts_a_new_attempt",
            CLAIMS + "test_a_new_attempt_has_a_memo_of_its_own",
        ),
    ),
    Mutant(
        "lost-attempts-beyond-the-limit",
        "worker/tries.py",
        "if lost and task.retry.attempts > 1 and tried >= task.retry.attempts:",
        "if lost and task.retry.attempts > 1 and tried > task.retry.attempts:",
        (KILLERS + "test_lost_attempts_count_against_the_limit",),
    ),
)
