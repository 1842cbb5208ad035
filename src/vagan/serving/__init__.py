"""A local web page that shows the effect in an image dropped on it; needs the extra ``serve``."""
