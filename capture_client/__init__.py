"""All that runs on an employee's computer. It imports nothing of the server."""
