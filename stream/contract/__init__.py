"""The wire contract: messages, headers, and the reasons of dead letters."""
