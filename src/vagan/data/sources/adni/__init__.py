"""ADNI downloads: a LONI image tree and study tables of any generation.

``tree.py`` finds the scans, ``tables.py`` reads the tables, ``cells.py`` what stands in their cells. ``images.py``
says what the tables know of an image, ``diagnoses.py`` which class a subject had when it was made, ``covariates.py``
what else is known of the subject, ``choice.py`` which of a visit's T1-weighted images is taken. ``study.py`` joins
all that and writes the manifest; ``summary.py`` counts.
"""
