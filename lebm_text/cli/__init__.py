"""The command line. Each command has a module, which parses arguments, calls one function and prints the result."""
