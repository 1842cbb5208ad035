"""From raw head scans (``scan.py``) to network input (``pipeline.py``; of a study ``study.py``), and maps back."""
