"""A page on this machine that shows the effect in an image that is dropped on it; needs the extra ``serve``."""
