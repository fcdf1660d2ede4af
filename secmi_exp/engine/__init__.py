"""All that computes rows or trains on devices; docs/engine.md says how a stage is carried out, killed and continued."""
