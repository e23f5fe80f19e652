"""The services' own dialect: their own paths, shapes, registrations and keys, over the same books as the gateway."""
