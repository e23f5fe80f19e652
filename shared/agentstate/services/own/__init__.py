"""The services' own routes: their addresses, accounts and shapes, translated into the one shape of the gateway."""
