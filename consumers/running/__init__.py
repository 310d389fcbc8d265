"""What a runner is made of, one file each."""
