"""What an experiment is: the models of a paper.yaml, how it is read, the jobs that it makes.

Nothing here imports torch: a whole study is checked and planned in seconds.
"""
