"""Who may see what: users, tokens, sessions, and the record of what they did."""
