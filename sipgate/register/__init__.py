"""What is known, in SQL: accounts, notices, enrolments, exclusions, workstations, the index of recordings."""
