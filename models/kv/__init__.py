"""A cache of packed keys and values for the attention layers of plain and hybrid language models.

Nothing here is imported with the rest of selfroute.models: the modules need torch, cache and layers also transformers.
"""
