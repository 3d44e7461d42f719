"""Pictures of the provisioned service dashboard, for the README."""
