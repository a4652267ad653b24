"""Two heads: for each service one of them acts, by a lease in the table, and the other stands by.

`lease` what it is · `leadership` taking, renewing and losing it · `guards` nothing is begun without it · `look` the last look
before the wire · `standing` a service with or without all that.
"""
