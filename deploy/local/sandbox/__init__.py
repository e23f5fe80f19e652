"""The sandbox: Casino, Trading, Wallet, Domains, Faucet and Escrow in one process on loopback.

`model/` keeps the books in exact integers and knows no HTTP; `http/` serves it in two dialects, the gateway's and the
services' own; `faults.py` makes requests fail on purpose. README.md lists what is faithful to the real services and
what is simplified.
"""
