-- What is asked often costs the same however many letters and ready runs there are.

CREATE INDEX outbox_offered ON outbox (namespace, workflow, version)
    WHERE fingerprint IS NOT NULL;
CREATE INDEX dead_letter_newest ON dead_letter (namespace, id);
