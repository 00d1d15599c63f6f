"""What is asked of the server, a file for each noun."""
