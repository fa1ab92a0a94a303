"""Texts as the recommender reads them: vectors by an encoder, exact words by a lexicon."""
