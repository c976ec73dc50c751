"""The stream side: the Faust app, its tables and agents, the commit, and the embedded transport."""
