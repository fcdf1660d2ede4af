"""The Python API: `secmi_exp.audit` and the like, which compose and carry out what the command would."""
