"""ADNI downloads: a LONI image tree (``tree.py``) and study tables of any generation (``tables.py``).

``images.py`` says what the tables know of an image and which one of a visit is taken, ``subjects.py`` which class a
subject had and what else is known of it; ``study.py`` joins all that and writes the manifest.
"""
