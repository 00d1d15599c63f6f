"""The server process: socket, HTTP protocol, timers, signals."""
