"""What hangs around the core. Each folder has a README."""
