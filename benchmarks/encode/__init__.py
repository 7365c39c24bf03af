"""How fast texts become token embeddings, here and in transformers, sentence-transformers and PyLate."""
