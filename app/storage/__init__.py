"""Ground: the database of record. Tables, transactions and queries; nothing here decides who may read what."""
