"""What Lastseen knows of particular programs, one file each."""
