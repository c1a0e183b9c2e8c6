"""What so many requests a day take: costs that are measured, arithmetic on them, and a simulation.

`measure` takes the costs, `arithmetic` computes, `simulation` checks the arithmetic event by event.
"""
