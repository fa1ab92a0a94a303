"""The service's logic: a request becomes an answer, reasoning is kept ahead of time, models are swapped while serving.

Transport (HTTP, schemas, metrics) is bento/; one model's ranking is `rporec.recommender`.
"""
