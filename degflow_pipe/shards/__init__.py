"""Shards: which samples a tar holds, tars of LR/HR pairs, their indexes, sums and card.

It imports chains, choices, engines, errors, files, folders, formats, json_files, levels, pictures,
places, settings and store.
"""
