"""From raw head scans to network input, and maps back onto the scan.

``scan.py`` reads a head. ``pipeline.py`` runs the steps, of ``steps.py``, ``brain.py`` and ``registration.py``, and
keeps their record. ``derivatives.py`` writes what came out as BIDS, ``runner.py`` does so for many scans in parallel,
``study.py`` packs them into a cohort.
"""
