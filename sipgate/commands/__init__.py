"""The command line's parts, one module per noun. They open the same stores as the server, and act as a named person
where a person's own act is wanted (acknowledging, signing, viewing): then they ask for that person's password.

What only one command needs and what is slow to import (media, the server) is imported in that command: the others start
in a fraction of the time.
"""
