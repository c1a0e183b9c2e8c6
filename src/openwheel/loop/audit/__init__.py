"""The audit as it runs: how much of it, what it shows, and what is done about it.

Read in this order: `policy` (how many requests to audit), `signals` (what else asks for more),
`watch` (what a promotion's audits have shown, and when that is an alarm), `read` (audits out of the
store), `book` (watches, plans and alarms in the registry), `look` (one look, as the learner takes
it), `status` (for people). The statistics are `openwheel.gate.monitors`; how requests are audited
is the gateway's business.
"""
