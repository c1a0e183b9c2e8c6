"""Runs the audit: chooses how many requests to audit, tests what they show, and demotes.

Read in this order: `shares` (how many requests to audit, and the signals that ask for more),
`state` (the audits of one promotion, and when they are an alarm), `query` (reads audits from the
store), `records` (states, plans and alarms in the registry), `step` (one look of the learner),
`status` (for people). The statistics are in `openwheel.gate.monitors`; the gateway asks the
teacher.
"""
