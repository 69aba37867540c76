"""A small Hub for the tests: what it holds (repos.py), how it answers (server.py), and how a test gets one (fixture.py)."""
