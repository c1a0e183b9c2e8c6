"""Changes of the teacher: a new version behind an endpoint, or answers that are no longer its own.

Read in this order: `versions` (what is a change), `sightings` (which versions answered, and since
when), `book` (what follows from a change, in one write), `notice` (one look, as the learner takes
it), `twice` (what asking again has shown), `again` (asking again, beside the learner), `status`
(for people). Knows nothing of HTTP: it is given a way to ask.
"""
