"""ADNI downloads: a LONI image tree (``scans.py``), study tables (``tables.py``), and what they give together."""
