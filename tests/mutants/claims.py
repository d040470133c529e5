"""Mutants of claims: fences that are open, and workers that are not missed."""

from __future__ import annotations

from tests.mutants.mutant import (
    CLAIMS,
    KILLERS,
    LIVENESS,
    MATRIX,
    SQL,
    STOPPING,
    STORE,
    WORKER,
    Mutant,
)

FENCES = (
    Mutant(
        "heartbeat-unfenced",
        "engine/workers.py",
        "if current.get(h.run_id) != h.epoch)",
        "if h.run_id not in current)",
        (LIVENESS + "test_a_heartbeat_tells_which_claims_are_lost",),
    ),
    Mutant(
        "lost-claims-untold",
        "engine/workers.py",
        "return HeartbeatAnswer(lost, batch.now)",
        "return HeartbeatAnswer((), batch.now)",
        (
            LIVENESS + "test_a_heartbeat_tells_which_claims_are_lost",
            LIVENESS + "test_a_heartbeat_releases_nothing_of_another_worker",
        ),
    ),
    Mutant(
        "lease-renewed-after-goodbye",
        SQL,
        "?4 AND status <> 'stopped'",
        "?4",
        (
            LIVENESS + "test_only_a_registered_worker_has_a_heartbeat",
            STORE + "test_the_life_of_a_worker",
        ),
    ),
    Mutant(
        "claims-revive-the-lost",
        SQL,
        "status NOT IN ('stopped', 'lost')",
        "status NOT IN ('stopped')",
        (
            LIVENESS + "test_a_waiting_claim_of_the_dead_is_given_none_of_their_runs",
            STORE + "test_the_life_of_a_worker",
        ),
    ),
    Mutant(
        "claims-on-their-way-released",
        "engine/workers.py",
        "if _unheard(row, operation):",
        "if row.claim_id:",
        (KILLERS + "test_a_claim_on_its_way_stays_although_the_batch_knows_the_run",),
    ),
    Mutant(
        "stale-epoch-accepted",
        "engine/reports.py",
        "or state.epoch != report.epoch or state.holder != incarnation:",
        "or state.holder != incarnation:",
        (KILLERS + "test_entries_under_an_epoch_that_is_over_are_refused",),
    ),
    Mutant(
        "other-holder-accepted",
        "engine/reports.py",
        "or state.epoch != report.epoch or state.holder != incarnation:",
        "or state.epoch != report.epoch:",
        (KILLERS + "test_a_report_of_somebody_elses_claim_is_refused",),
    ),
    Mutant(
        "claim-without-new-epoch",
        "machine/decisions.py",
        "        epoch=state.epoch + 1,\n        holder=command.worker,",
        "        epoch=max(state.epoch, 1),\n        holder=command.worker,",
        (
            MATRIX + "test_a_claim_takes_a_new_epoch_and_keeps_the_first_start",
            LIVENESS + "test_a_lease_that_ended_frees_the_run_and_not_a_moment_before",
        ),
    ),
    Mutant(
        "terminate-without-new-epoch",
        "machine/decisions.py",
        "return _end(state, status, reason, now, epoch=state.epoch + 1)",
        "return _end(state, status, reason, now, epoch=state.epoch)",
        (MATRIX + "test_who_ends_it_from_outside_fences_the_holder",),
    ),
    Mutant(
        "refusal-ignored",
        "worker/driver.py",
        'if outcome.verdict != "recorded":',
        'if outcome.verdict == "refused":',
        (KILLERS + "test_a_run_whose_claim_is_lost_goes_no_further",),
    ),
    Mutant(
        "claim-after-goodbye",
        "engine/claims.py",
        "if (principal.namespace, operation.incarnation) in batch.left:",
        "if not operation.incarnation:",
        (CLAIMS + "test_a_claim_in_the_batch_of_a_goodbye_gets_nothing",),
    ),
    Mutant(
        "newborn-beyond-the-limit",
        "engine/claims.py",
        "if len(granted) == operation.limit:",
        "if len(granted) > operation.limit:",
        (KILLERS + "test_a_waiting_claim_takes_no_more_newborn_runs_than_its_limit",),
    ),
    Mutant(
        "newborn-of-another-namespace",
        "engine/claims.py",
        "run.shard not in shards or run.namespace != principal.namespace:",
        "run.shard not in shards:",
        (KILLERS + "test_a_waiting_claim_takes_no_newborn_run_of_another_namespace",),
    ),
)

RECOVERY = (
    Mutant(
        "no-reaper",
        "engine/upkeep.py",
        'if run is None or run.state.status != "running" or run.state.holder in batch.alive:',
        "if run is None or run.state.epoch:",
        (
            LIVENESS + "test_a_lease_that_ended_frees_the_run_and_not_a_moment_before",
            LIVENESS + "test_a_dead_process_is_recovered_before_its_lease_ends",
        ),
    ),
    Mutant(
        "reaper-without-second-look",
        "engine/upkeep.py",
        'or run.state.status != "running" or run.state.holder in batch.alive:',
        'or run.state.status != "running":',
        (KILLERS + "test_a_worker_that_spoke_since_the_daemon_looked_keeps_its_runs",),
    ),
    Mutant(
        "lease-boundary",
        SQL,
        "WHERE status = 'alive' AND (lease_until < ?1 OR suspect_since <= ?2);",
        "WHERE status = 'alive' AND (lease_until <= ?1 OR suspect_since <= ?2);",
        (STORE + "test_the_life_of_a_worker",),
    ),
    Mutant(
        "losses-never-cleared",
        "machine/decisions.py",
        'return {"losses": 0, "alone_losses": 0, "command_id": command.command_id}',
        'return {"command_id": command.command_id}',
        (MATRIX + "test_what_clears_losses",),
    ),
    Mutant(
        "losses-kept-despite-progress",
        "engine/reports.py",
        "if not (stopped or state.losses or state.alone_losses):",
        "if not stopped:",
        (LIVENESS + "test_progress_keeps_a_run_from_becoming_a_dead_letter",),
    ),
    Mutant(
        "always-alone",
        "machine/decisions.py",
        "alone = state.losses >= ALONE_AFTER_LOSSES",
        "alone = state.losses >= 0",
        (
            MATRIX + "test_losses_lead_to_solitude_and_only_then_to_the_dead_letter",
            LIVENESS + "test_three_losses_while_alone_make_a_dead_letter",
        ),
    ),
    Mutant(
        "alone-beside-others",
        "engine/claims.py",
        "1, alone=True) if operation.idle else []",
        "1, alone=True)",
        (CLAIMS + "test_a_run_to_be_executed_alone_waits_for_an_idle_worker",),
    ),
    Mutant(
        "lost-attempts-stay-open",
        "engine/claims.py",
        'await batch.tx.close_attempts(again, "lost", batch.now)',
        'await batch.tx.close_attempts([], "lost", batch.now)',
        (LIVENESS + "test_a_lease_that_ended_frees_the_run_and_not_a_moment_before",),
    ),
    Mutant(
        "reaper-off-duty",
        "engine/daemons.py",
        'Daemon(recover, "recovery_interval_ms"),',
        'Daemon(stall, "recovery_interval_ms"),',
        (WORKER + "test_a_loop_that_stalls_beyond_the_limit_loses_its_leases",),
    ),
    Mutant(
        "stalled-without-second-look",
        "engine/upkeep.py",
        'run.state.status == "queued" and run_id in batch.stale:',
        'run.state.status == "queued":',
        (STOPPING + "test_what_was_taken_and_given_back_since_is_not_stale",),
    ),
)
