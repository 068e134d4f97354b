"""What a person sees of figures that files or other rooms hold: tables and pictures."""
