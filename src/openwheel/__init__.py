"""Openwheel: learn an LLM's tasks from its traffic and answer them with certified students.

One folder a stage; imports point one way only, in this order: ``settings``, ``wire``, ``store``,
``access``, ``tasks``, ``students``, ``gate``, ``loop``, ``teachers``, ``gateway``, ``processes``,
``web``, ``cli``. Importing the package itself loads nothing heavy.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
