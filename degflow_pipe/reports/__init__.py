"""A page to look at: what a store, shards, a checkpoint or a result hold, as one HTML file.

A kind of source has a module that reads it and says what it found as a `page.Page`; `page` knows
nothing of sources and draws with Jinja2, `charts` with matplotlib as SVG, `drawn` codes pictures
as WebP. All that comes from a file is a stranger's: it is shown as text, and the page may ask
nothing of anybody.

It imports cameras, checkpoint, errors, evaluation, files, folders, formats, json_files, levels,
metrics, pairs, pictures, progress, proxy, reading, settings, shards, shipped, stages and store.
"""
