"""The audit as it runs: how much of it, what it shows, and what is done about it.

Read in this order: `policy` (how many requests to audit), `signals` (what else asks for more),
`state` (what a promotion's audits have shown, and when that is an alarm), `query` (audits out of
the store), `records` (states, plans and alarms in the registry), `step` (one look, as the learner
takes it), `status` (for people). The statistics are `openwheel.gate.monitors`; how requests are
audited is the gateway's business.
"""
