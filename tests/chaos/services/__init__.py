"""A fleet against the sandbox with every fault on: nothing twice, nothing lost, and the books are what is true."""
