"""Room: who may do what. Rules compiled to a `ReadFilter`, and Casbin as the independent referee of every hit."""
