"""Training of the pocket models: V-JEPA 2.1's objective on rendered clips."""
