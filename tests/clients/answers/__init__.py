"""The scripted teacher's answers, one module an API."""
