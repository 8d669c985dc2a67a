"""What deploy/stack_test.py is made of; no part of the installed package."""
