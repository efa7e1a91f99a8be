"""What a camera above a simulated city sees: orthomosaic, surface model, labels."""
