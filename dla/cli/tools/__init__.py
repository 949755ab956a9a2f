"""The library as tools of an agent: what is asked, which results are kept, and the protocol."""
