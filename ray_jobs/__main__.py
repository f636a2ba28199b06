"""List the jobs of `ray_jobs`, with a line each and how to run it.

python -m ray_jobs
"""

from motion.errors.command_line import exit_on_bad_input, list_programs

if __name__ == "__main__":
    exit_on_bad_input(lambda: list_programs("ray_jobs"))
