"""Runs the audit: chooses how many requests to audit, tests what they show, and demotes.

Read in this order: `policy` (how many requests to audit), `signals` (what else raises that),
`state` (the audits of one promotion, and when they are an alarm), `query` (reads audits from the
store), `records` (states, plans and alarms in the registry), `step` (one look of the learner),
`status` (for people). The statistics are in `openwheel.gate.monitors`; the gateway asks the
teacher.
"""
