"""Mutants of ends and commits: what is left behind, and what one operation does to others."""

from __future__ import annotations

from tests.mutants.mutant import BATCHES, KILLERS, MATRIX, SQL, SQLITE, STOPPING, STORE, Mutant

STOPS = (
    Mutant(
        "open-attempts-kept-at-the-end",
        "engine/batch.py",
        "encode_failure(result)))\n            self._discarded.append(run.id)",
        "encode_failure(result)))\n            self._discarded.extend(())",
        (KILLERS + "test_a_forced_end_leaves_nothing_open",),
    ),
    Mutant(
        "waits-kept-at-the-end",
        "engine/batch.py",
        "self._new_waits[run.id] = self.waits[run.id] = ()",
        "self.waits[run.id] = ()",
        (KILLERS + "test_a_forced_end_leaves_nothing_open",),
    ),
    Mutant(
        "outbox-kept-at-the-end",
        "engine/batch.py",
        "self._unqueued.append(run.id)",
        "self._unqueued.extend(())",
        (STOPPING + "test_a_deadline_ends_an_unstarted_run_at_once",),
    ),
    Mutant(
        "family-not-asked",
        "engine/controls.py",
        '"cancel", derived_id(child.id, "stop", origin), reason, batch)',
        '"cancel", derived_id(child.id, "stop", origin), reason, batch) if not origin else None',
        (STOPPING + "test_descendants_are_asked_in_the_same_transaction",),
    ),
    Mutant(
        "grace-ends-early",
        "machine/decisions.py",
        "if state.grace_until is None or state.grace_until > now:",
        "if state.grace_until is None:",
        (MATRIX + "test_the_grace_does_not_end_early",),
    ),
    Mutant(
        "retention-orphans-a-parent",
        SQL,
        "r.ended_at < ?2 AND (p.id IS NULL OR p.ended_at IS NOT NULL)",
        "r.ended_at < ?2",
        (
            STORE + "test_children_of_live_parents_do_not_expire",
            STOPPING + "test_retention_keeps_the_children_of_live_parents",
        ),
    ),
)

COMMITS = (
    Mutant(
        "bad-operation-fails-its-batch",
        "engine/committer.py",
        "if len(asks) > 1 and not isinstance(error, ServiceError):",
        "if len(asks) > 1_000 and not isinstance(error, ServiceError):",
        (BATCHES + "test_an_unexpected_error_in_one_repeats_the_batch_singly",),
    ),
    Mutant(
        "store-failure-repeated-singly",
        "engine/committer.py",
        "if len(asks) > 1 and not isinstance(error, ServiceError):",
        "if len(asks) > 1:",
        (BATCHES + "test_a_store_that_cannot_answer_fails_the_batch_once",),
    ),
    Mutant(
        "refusal-fails-its-batch",
        "engine/committer.py",
        "answers[ask] = (apply(ask.operation, ask.principal, batch), None)\n"
        "            except AikiError as error:",
        "answers[ask] = (apply(ask.operation, ask.principal, batch), None)\n"
        "            except ServiceError as error:",
        (BATCHES + "test_a_refused_operation_does_not_touch_its_neighbours",),
    ),
    Mutant(
        "reply-before-commit",
        "engine/committer.py",
        'failpoints.hit("before_commit")\n',
        '[ask.reply(*answers[ask]) for ask in asks]; failpoints.hit("before_commit")\n',
        (BATCHES + "test_a_crash_before_the_commit_leaves_nothing",),
    ),
    Mutant(
        "deferred-write-lock",
        SQL,
        "BEGIN IMMEDIATE;",
        "BEGIN DEFERRED;",
        (KILLERS + "test_a_transaction_holds_the_write_lock_although_it_only_read_so_far",),
    ),
    Mutant(
        "commits-not-on-disk",
        "store/sqlite/connection.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        (SQLITE + "test_commits_are_on_disk_when_they_return",),
    ),
    Mutant(
        "workers-wait-behind-clients",
        "engine/committer.py",
        "if ask.operation.urgent:",
        "if not ask.operation:",
        (BATCHES + "test_a_full_queue_refuses_clients_and_never_workers",),
    ),
)
