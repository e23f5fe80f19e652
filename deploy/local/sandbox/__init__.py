"""The sandbox: Casino, Trading, Wallet, Domains, Faucet and Escrow in one process on loopback.

`model/` keeps the books in exact integers and knows no HTTP; `gateway/` is one dialect over it, and a second dialect
can be added beside it. What is faithful to the real services and what is simplified is told in README.md.
"""
