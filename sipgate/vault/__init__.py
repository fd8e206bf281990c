"""What is kept: sealed files, the keys apart from them, the journal's file, the crash ledger."""
