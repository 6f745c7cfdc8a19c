"""The policy: tensors in, tensors out. Importing this package imports nothing heavy."""
