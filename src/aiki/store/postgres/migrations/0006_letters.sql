-- Letters go with the run that they are about, and those that are about none go with time.

CREATE INDEX dead_letter_run ON dead_letter (run_id, at);
