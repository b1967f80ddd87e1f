"""How the pocket models were made: V-JEPA 2.1's objective on rendered clips."""
