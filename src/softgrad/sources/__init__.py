"""Rows on disk: files that are read anew in every pass, never mapped into memory."""
