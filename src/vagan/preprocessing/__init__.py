"""From raw head scans to network input, and maps back onto the scan.

``scan.py`` reads a head and says what is wrong with it. ``pipeline.py`` runs the steps one after the other and keeps
their record; they are in ``framing.py``, ``brain.py``, ``intensity.py`` and ``template.py``, on ``geometry.py`` and
``registration.py``. ``derivatives.py`` writes what came out in the manner of BIDS, ``runner.py`` does so for
thousands of scans on one machine or on many, ``store.py`` packs them into a cohort.
"""
