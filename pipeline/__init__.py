"""Tuning Fork's pipeline: a chain of small verbs over a few nouns, with a folder on disk as the joint between any two.

    dataset -- template -- train -- generate / evaluate -- merge
    rows       text+mask   adapter  base against tuned     merged

`schema` holds every noun; each other module is one verb. `jobs` is the life of a run folder.
"""
