"""Flow: a document on its way in, from bytes to stored, searchable chunks. Doors submit here; nothing here decides who may read."""
