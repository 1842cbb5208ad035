"""ADNI downloads: a LONI image tree and the study tables that LONI exports (``tables.py``).

``scans.py`` finds the images, says what the tables know of them and which one of a visit is taken; ``study.py``
which class a subject had and what else is known of it, joins all that and writes the manifest.
"""
