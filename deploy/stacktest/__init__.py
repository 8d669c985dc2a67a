"""Modules of deploy/stack_test.py; no part of the installed package."""
