"""Mutants of facts and repeats: wake-ups that are lost, and what happens twice."""

from __future__ import annotations

from tests.mutants.mutant import (
    CALLS,
    CLAIMS,
    IDEMPOTENCY,
    KILLERS,
    LIVENESS,
    MATRIX,
    SQL,
    STORE,
    WAKEUPS,
    Mutant,
)

WAKING = (
    Mutant(
        "event-without-waking",
        "engine/batch.py",
        "run = self.move(run, Wake(fact.kind))",
        "run = self.runs[run.id]",
        (WAKEUPS + "test_an_event_while_the_run_parks",),
    ),
    Mutant(
        "park-without-second-look",
        "engine/reports.py",
        "Park(report.epoch, due_at, ready, report.command_id)",
        "Park(report.epoch, due_at, False, report.command_id)",
        (
            WAKEUPS + "test_an_event_while_the_run_parks",
            WAKEUPS + "test_a_child_ends_while_the_parent_parks",
            WAKEUPS + "test_a_cancel_while_the_run_parks",
        ),
    ),
    Mutant(
        "parent-told-of-success-alone",
        "engine/batch.py",
        "        self._tell_parent(run, result)\n",
        "        _ = isinstance(result, bytes) and self._tell_parent(run, result)\n",
        (
            WAKEUPS + "test_a_child_ends_while_the_parent_parks",
            WAKEUPS + "test_a_child_is_cancelled_while_the_parent_parks",
            LIVENESS + "test_an_end_by_dead_letter_tells_the_parent",
        ),
    ),
    Mutant(
        "holder-not-told",
        "engine/batch.py",
        "self.told.add(run.state.holder)",
        "self.told.discard(run.state.holder)",
        (LIVENESS + "test_news_are_pushed_to_the_worker_that_executes_the_run",),
    ),
    Mutant(
        "taken-event-stays",
        "engine/batch.py",
        "inbox[:] = [fact for fact in inbox if fact.id != fact_id]",
        "inbox[:] = [fact for fact in inbox if fact.id]",
        (WAKEUPS + "test_a_taken_event_is_gone_and_taken_once",),
    ),
    Mutant(
        "start-due-early",
        "machine/decisions.py",
        "if state.due_at is not None and state.due_at > now:\n        raise",
        "if state.due_at is not None and state.due_at < 0:\n        raise",
        (MATRIX + "test_nothing_is_due_early",),
    ),
    Mutant(
        "daemon-wakes-early",
        "engine/upkeep.py",
        "elif not _is_due(state.due_at, batch):",
        "elif state.due_at is None:",
        (KILLERS + "test_a_look_before_the_due_wakes_nothing",),
    ),
    Mutant(
        "early-timer-recorded",
        "engine/reports.py",
        "if entry.due_at is not None and entry.due_at > batch.now:",
        "if entry.due_at is not None and entry.due_at < 0:",
        (WAKEUPS + "test_a_timer_never_fires_early",),
    ),
    Mutant(
        "worker-fires-early",
        "worker/outside.py",
        "return call if (call.due_at or 0) <= now else None",
        "return call if (call.due_at or 0) <= now + 60_000 else None",
        (KILLERS + "test_a_timer_is_not_taken_before_it_is_due",),
    ),
    Mutant(
        "clock-goes-back",
        SQL,
        "UPDATE clock SET now_ms = max(now_ms, ?1 + offset_ms) RETURNING now_ms;",
        "UPDATE clock SET now_ms = ?1 + offset_ms RETURNING now_ms;",
        (STORE + "test_the_clock_never_goes_back",),
    ),
    Mutant(
        "child-of-an-earlier-attempt-speaks",
        "engine/batch.py",
        "if parent.state.attempt != run.parent_attempt:",
        "if not parent.state.attempt:",
        (WAKEUPS + "test_a_child_of_an_earlier_attempt_does_not_speak_to_the_new_one",),
    ),
    Mutant(
        "news-missed-between-two-calls",
        "engine/watchers.py",
        "if self.cursor(incarnation) == cursor and wait_ms > 0:",
        "if wait_ms > 0:",
        (KILLERS + "test_news_from_between_two_calls_are_told_at_once",),
    ),
    Mutant(
        "end-missed-before-the-wait",
        "engine/engine.py",
        "self._look(watch, late=False)",
        "watch.answered = False",
        (KILLERS + "test_waiting_for_a_run_that_has_ended_is_answered_at_once",),
    ),
    Mutant(
        "sooner-due-overslept",
        "engine/daemons.py",
        "if due is not None and (self._next is None or due < self._next):",
        "if due is not None and self._next is None:",
        (KILLERS + "test_a_sooner_due_is_slept_for_although_a_later_one_was",),
    ),
    Mutant(
        "pause-before-retry-forgotten",
        "worker/desk.py",
        "if due_at is not None and due_at > self._now():",
        "if due_at is not None and due_at < 0:",
        (KILLERS + "test_the_pause_before_a_retry_outlives_the_worker",),
    ),
)

REPEATS = (
    Mutant(
        "event-key-ignored",
        "engine/events.py",
        "known = batch.event_keys.get(EventKey(event.run_id, event.name, event.key))",
        "known = batch.facts.get(event.id)",
        (
            IDEMPOTENCY + "test_an_event_under_a_used_key_or_id_is_a_conflict",
            CALLS + "test_an_event_with_a_key_is_taken_once",
        ),
    ),
    Mutant(
        "event-id-ignored",
        "engine/events.py",
        "known = batch.facts.get(event.id)",
        "known = batch.facts.get(event.run_id)",
        (IDEMPOTENCY + "test_a_repeated_operation_does_nothing",),
    ),
    Mutant(
        "passed-event-twice",
        "engine/events.py",
        "if event.id not in batch.facts and (key is None or key not in batch.event_keys):",
        "if event.id:",
        (KILLERS + "test_an_event_in_a_repeated_report_is_passed_once",),
    ),
    Mutant(
        "repeated-claim-takes-more",
        "engine/claims.py",
        "    if opening.granted:\n",
        "    if opening.granted and not operation.limit:\n",
        (CLAIMS + "test_a_repeated_claim_answers_the_same_runs",),
    ),
    Mutant(
        "repeated-report-unknown",
        "engine/reports.py",
        "if report.command_id is not None and state.command_id == report.command_id:",
        'if report.command_id == "":',
        (
            IDEMPOTENCY + "test_a_late_repeat_of_a_report_gets_its_answer_whatever_happened_since",
            IDEMPOTENCY + "test_a_repeated_operation_does_nothing",
        ),
    ),
    Mutant(
        "reference-not-unique",
        "engine/starts.py",
        "known = batch.references.get(reference) if reference else None",
        "known = None",
        (
            IDEMPOTENCY + "test_a_reference_names_one_run_of_a_workflow",
            IDEMPOTENCY + "test_return_existing_answers_the_run_that_has_the_reference",
        ),
    ),
    Mutant(
        "reference-unknown-within-a-batch",
        "engine/batch.py",
        "self.references[reference] = run.id",
        "self.references.setdefault(reference, run.id) and self.references.pop(reference)",
        (IDEMPOTENCY + "test_a_reference_holds_within_a_batch_and_within_a_call",),
    ),
    Mutant(
        "entry-overwritten",
        SQL,
        "INSERT OR IGNORE INTO entry",
        "INSERT OR REPLACE INTO entry",
        (STORE + "test_an_entry_is_written_once",),
    ),
    Mutant(
        "ended-attempt-overwritten",
        SQL,
        "WHERE task_attempt.status = 'running';",
        "WHERE task_attempt.status <> '';",
        (STORE + "test_an_ended_attempt_stays",),
    ),
    Mutant(
        "pushed-fact-twice",
        "worker/inbox.py",
        "if fact.id in self._known:",
        "if not fact.id:",
        (KILLERS + "test_facts_are_taken_by_instant_then_kind_then_id",),
    ),
)
