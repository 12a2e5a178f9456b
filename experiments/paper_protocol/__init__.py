"""The paper's probe scan beside converged cross-sections and the published network."""
