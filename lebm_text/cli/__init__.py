"""The command line: one module a command, each of which parses, calls one function, and shows the result."""
