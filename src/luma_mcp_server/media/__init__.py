"""Files in and out: what a media parameter names, local files to upload, finished files to save."""
