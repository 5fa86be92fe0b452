"""What the ledger must do, written a second time: plain Python over dictionaries, one call after the other, no SQL.

`jobs`, `flows` and `schedules` are the model, written from what the functions promise. `ledger` has a real database
beside it and compares rows, refusals and every table after each step. `machine` draws the programs.
"""
