"""The stages that compute: train, merge, evaluate. Each is a command and a rule."""
