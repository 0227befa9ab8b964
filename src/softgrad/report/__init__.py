"""What a fit did, in numbers (`confusion`) and in pictures (`pictures`); only the pictures need matplotlib."""
